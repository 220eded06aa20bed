#include "ferry_native.h"

#include <cstdlib>
#include <cstring>
#include <exception>

#include <ATen/ATen.h>
#include <ATen/Context.h>
#include <ATen/autocast_mode.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <torch/headeronly/version.h>

namespace {

template <typename Work>
char* attempt(Work work) noexcept {
    try {
        work();
        return nullptr;
    } catch (const c10::Error& error) {
        return strdup(error.what_without_backtrace());
    } catch (const std::exception& error) {
        return strdup(error.what());
    } catch (...) {
        return strdup("an exception that is not of the standard library");
    }
}

at::DeviceType device_type(int32_t cuda) { return cuda ? at::kCUDA : at::kCPU; }

at::Tensor& tensor_of(ferry_tensor tensor) { return *static_cast<at::Tensor*>(tensor); }

c10::DeviceAllocator& cuda_allocator() { return *c10::getDeviceAllocator(at::kCUDA); }

c10::DeviceIndex device_index(int32_t device) { return static_cast<c10::DeviceIndex>(device); }

}  // namespace

void ferry_native_free(char* error) { std::free(error); }

const char* ferry_libtorch_version(void) { return TORCH_VERSION; }

void ferry_exit(int32_t code) { std::_Exit(code); }

char* ferry_autocast_enter(int32_t cuda, ferry_autocast_state* before) {
    return attempt([&] {
        const auto device = device_type(cuda);
        before->enabled = at::autocast::is_autocast_enabled(device);
        before->type = static_cast<int32_t>(at::autocast::get_autocast_dtype(device));
        at::autocast::set_autocast_dtype(device, at::kBFloat16);
        at::autocast::set_autocast_enabled(device, true);
        at::autocast::increment_nesting();
    });
}

char* ferry_autocast_exit(int32_t cuda, const ferry_autocast_state* before) {
    return attempt([&] {
        const auto device = device_type(cuda);
        if (at::autocast::decrement_nesting() == 0) {
            at::autocast::clear_cache();
        }
        at::autocast::set_autocast_enabled(device, before->enabled != 0);
        at::autocast::set_autocast_dtype(device, static_cast<at::ScalarType>(before->type));
    });
}

char* ferry_tf32(int32_t* convolutions, int32_t* products) {
    return attempt([&] {
        *convolutions = at::globalContext().allowTF32CuDNN();
        *products = at::globalContext().allowTF32CuBLAS();
    });
}

char* ferry_set_tf32(int32_t convolutions, int32_t products) {
    return attempt([&] {
        at::globalContext().setAllowTF32CuDNN(convolutions != 0);
        at::globalContext().setAllowTF32CuBLAS(products != 0);
    });
}

char* ferry_set_cudnn(int32_t benchmark, int32_t deterministic) {
    return attempt([&] {
        at::globalContext().setBenchmarkCuDNN(benchmark != 0);
        at::globalContext().setDeterministicCuDNN(deterministic != 0);
    });
}

char* ferry_channels_last(ferry_tensor tensor, ferry_tensor* result) {
    return attempt([&] {
        *result = new at::Tensor(tensor_of(tensor).contiguous(at::MemoryFormat::ChannelsLast));
    });
}

char* ferry_is_channels_last(ferry_tensor tensor, int32_t* result) {
    return attempt([&] {
        *result = tensor_of(tensor).is_contiguous(at::MemoryFormat::ChannelsLast);
    });
}

char* ferry_pinned(ferry_tensor tensor, ferry_tensor* result) {
    return attempt([&] { *result = new at::Tensor(tensor_of(tensor).pin_memory()); });
}

char* ferry_is_pinned(ferry_tensor tensor, int32_t* result) {
    return attempt([&] { *result = tensor_of(tensor).is_pinned(); });
}

char* ferry_memory_statistics(int32_t device, ferry_memory* result) {
    return attempt([&] {
        const auto statistics = cuda_allocator().getDeviceStats(device_index(device));
        const auto all = static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE);
        const auto& allocated = statistics.allocated_bytes[all];
        const auto& reserved = statistics.reserved_bytes[all];
        result->allocated = static_cast<uint64_t>(allocated.current);
        result->reserved = static_cast<uint64_t>(reserved.current);
        result->peak_allocated = static_cast<uint64_t>(allocated.peak);
        result->peak_reserved = static_cast<uint64_t>(reserved.peak);
    });
}

char* ferry_memory_reset_peak(int32_t device) {
    return attempt([&] { cuda_allocator().resetPeakStats(device_index(device)); });
}

char* ferry_memory_release(void) {
    return attempt([] { cuda_allocator().emptyCache(); });
}
