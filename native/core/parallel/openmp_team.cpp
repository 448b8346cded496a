#include "parallel/openmp_team.h"

#include <omp.h>

namespace seedbed {

void end_openmp_team() { omp_pause_resource_all(omp_pause_soft); }

}  // namespace seedbed
