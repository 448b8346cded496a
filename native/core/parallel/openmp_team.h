#pragma once

namespace seedbed {

// Ends the threads that OpenMP keeps for the calling thread between its parallel regions, and the buffers that kernels keep for them; the next region
// starts new ones, in tens of microseconds. libgomp counts the waiting teams of all threads, and once that is more threads than processors it no longer lets any
// of them spin at a barrier: networks of small layers take half as long again. And a waiting team spins for a while on processors that others need.
void end_openmp_team();

}  // namespace seedbed
