// The functions of libtorch that Ferry needs and tch lacks. Only src/native.rs calls them.
//
// Functions that can fail return null, or an error text that the caller frees with ferry_native_free. No exception leaves
// them. Nothing here needs CUDA's headers or libtorch_cuda. On a machine without CUDA, calls that need a GPU return errors.

#pragma once

#include <stdint.h>

extern "C" {

// An at::Tensor. The caller owns tensors that a function returns.
typedef void* ferry_tensor;

// The state that an autocast region restores at its end.
typedef struct {
    int32_t enabled;
    int32_t type;
} ferry_autocast_state;

// Bytes in one GPU's caching allocator. Peaks are counted since the last reset.
typedef struct {
    uint64_t allocated;
    uint64_t reserved;
    uint64_t peak_allocated;
    uint64_t peak_reserved;
} ferry_memory;

void ferry_native_free(char* error);

// The version of libtorch with whose headers this was compiled. Static: not to be freed.
const char* ferry_libtorch_version(void);

// Ends the process without running libtorch's destructors. Does not return.
[[noreturn]] void ferry_exit(int32_t code);

// Autocast to bfloat16 on this thread, for the CPU (cuda = 0) or CUDA. The outermost exit clears the cache of cast
// weights.
char* ferry_autocast_enter(int32_t cuda, ferry_autocast_state* before);
char* ferry_autocast_exit(int32_t cuda, const ferry_autocast_state* before);

// TF32 in cuDNN's convolutions and cuBLAS's matrix products, for the whole process.
char* ferry_tf32(int32_t* convolutions, int32_t* products);
char* ferry_set_tf32(int32_t convolutions, int32_t products);

// cuDNN's choice of algorithms, for the whole process.
char* ferry_set_cudnn(int32_t benchmark, int32_t deterministic);

// The same values with the channels innermost (NHWC strides). Makes no copy if they already are.
char* ferry_channels_last(ferry_tensor tensor, ferry_tensor* result);
char* ferry_is_channels_last(ferry_tensor tensor, int32_t* result);

// A copy in page-locked host memory.
char* ferry_pinned(ferry_tensor tensor, ferry_tensor* result);
char* ferry_is_pinned(ferry_tensor tensor, int32_t* result);

// The caching allocator of GPU `device`.
char* ferry_memory_statistics(int32_t device, ferry_memory* result);
char* ferry_memory_reset_peak(int32_t device);
// Returns unused cached memory to the driver.
char* ferry_memory_release(void);

}
