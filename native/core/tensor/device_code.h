#pragma once

// Marks functions that nvcc compiles for the GPU and other compilers for the CPU.
#ifdef __CUDACC__
#define SEEDBED_DEVICE __device__
#else
#define SEEDBED_DEVICE
#endif
