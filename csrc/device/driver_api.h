// The CUDA driver, found at run time: neither building nor installing needs CUDA.
#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>

namespace ringmeter {

// What the driver answers, as cuda.h names it.
using DriverResult = int;
constexpr DriverResult kSuccess = 0;
constexpr DriverResult kDeinitialised = 4;
constexpr DriverResult kNotReady = 600;
constexpr DriverResult kCaptureUnsupported = 900;
constexpr DriverResult kCaptureInvalidated = 901;
constexpr DriverResult kCaptureImplicit =
    906;  // the legacy default stream, while one that it waits for captures

// Opaque to us.
using DriverContext = struct DriverContextTag*;
using DriverModule = struct DriverModuleTag*;
using DriverFunction = struct DriverFunctionTag*;
using DriverStream = struct DriverStreamTag*;  // null: the legacy default stream of the current context
using DevicePointer = std::uint64_t;

constexpr int kCaptureModeGlobal = 0;
constexpr int kCaptureModeThreadLocal = 1;
constexpr int kCaptureModeRelaxed = 2;
constexpr int kNotCapturing = 0;
constexpr int kCapturing = 1;
constexpr int kCaptureStatusInvalidated = 2;
constexpr unsigned kHostAllocPortable = 1;
constexpr unsigned kHostAllocMapped = 2;
constexpr unsigned kStreamNonBlocking = 1;

// Functions by the names that they have had since CUDA 10.1. Those of cuGetProcAddress change their meaning
// with the version that is asked for; these do not.
struct DriverApi {
  DriverResult (*cuInit)(unsigned flags);
  DriverResult (*cuDriverGetVersion)(int* version);
  DriverResult (*cuDeviceGet)(int* device, int ordinal);
  DriverResult (*cuDevicePrimaryCtxRetain)(DriverContext* context, int device);
  DriverResult (*cuCtxGetCurrent)(DriverContext* context);
  DriverResult (*cuCtxPushCurrent_v2)(DriverContext context);
  DriverResult (*cuCtxPopCurrent_v2)(DriverContext* context);
  DriverResult (*cuMemHostAlloc)(void** memory, std::size_t bytes, unsigned flags);
  DriverResult (*cuMemHostGetDevicePointer_v2)(DevicePointer* pointer, void* memory, unsigned flags);
  DriverResult (*cuMemAlloc_v2)(DevicePointer* pointer, std::size_t bytes);
  DriverResult (*cuMemsetD8Async)(DevicePointer pointer, unsigned char value, std::size_t bytes,
                                  DriverStream stream);
  DriverResult (*cuModuleLoadData)(DriverModule* module, const void* image);
  DriverResult (*cuModuleGetFunction)(DriverFunction* function, DriverModule module, const char* name);
  DriverResult (*cuLaunchKernel)(DriverFunction function, unsigned grid_x, unsigned grid_y, unsigned grid_z,
                                 unsigned block_x, unsigned block_y, unsigned block_z, unsigned shared_bytes,
                                 DriverStream stream, void** parameters, void** extra);
  DriverResult (*cuStreamCreate)(DriverStream* stream, unsigned flags);
  DriverResult (*cuStreamQuery)(DriverStream stream);
  DriverResult (*cuStreamIsCapturing)(DriverStream stream, int* status);
  DriverResult (*cuThreadExchangeStreamCaptureMode)(int* mode);
  DriverResult (*cuGetErrorName)(DriverResult result, const char** name);

  // Throws DriverError unless the result is kSuccess. `what` was tried.
  void check(DriverResult result, const char* what) const;
};

// The driver is not there, or refused something.
class DriverError : public std::runtime_error {
 public:
  DriverError(DriverResult result, const std::string& message)
      : std::runtime_error(message), result_(result) {}
  DriverResult result() const { return result_; }  // kSuccess: it was not the driver who said no

 private:
  DriverResult result_;
};

// Opens $RINGMETER_CUDA_DRIVER, or libcuda.so.1, and initialises it. It stays open for the life of the
// process. Throws DriverError.
DriverApi load_driver();

}  // namespace ringmeter
