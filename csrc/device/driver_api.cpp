#include "device/driver_api.h"

#include <dlfcn.h>

#include <cstdlib>

namespace ringmeter {

namespace {

template <class Function>
void find(void* library, const char* name, Function** out) {
  *out = reinterpret_cast<Function*>(dlsym(library, name));
  if (*out == nullptr) {
    throw DriverError(kSuccess, std::string("the CUDA driver must have the function ") + name +
                                    " (CUDA 10.1 and later), it has not");
  }
}

}  // namespace

void DriverApi::check(DriverResult result, const char* what) const {
  if (result == kSuccess) return;
  const char* name = nullptr;
  if (cuGetErrorName(result, &name) != kSuccess || name == nullptr) name = "unknown error";
  throw DriverError(result, std::string(what) + ": " + name + " (" + std::to_string(result) + ")");
}

DriverApi load_driver() {
  const char* chosen = std::getenv("RINGMETER_CUDA_DRIVER");
  const char* name = chosen != nullptr && *chosen != '\0' ? chosen : "libcuda.so.1";
  void* library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    const char* why = dlerror();
    throw DriverError(kSuccess, std::string("no CUDA driver: ") + (why == nullptr ? name : why));
  }
  DriverApi api{};
  find(library, "cuInit", &api.cuInit);
  find(library, "cuDriverGetVersion", &api.cuDriverGetVersion);
  find(library, "cuDeviceGet", &api.cuDeviceGet);
  find(library, "cuDevicePrimaryCtxRetain", &api.cuDevicePrimaryCtxRetain);
  find(library, "cuCtxGetCurrent", &api.cuCtxGetCurrent);
  find(library, "cuCtxPushCurrent_v2", &api.cuCtxPushCurrent_v2);
  find(library, "cuCtxPopCurrent_v2", &api.cuCtxPopCurrent_v2);
  find(library, "cuMemHostAlloc", &api.cuMemHostAlloc);
  find(library, "cuMemHostGetDevicePointer_v2", &api.cuMemHostGetDevicePointer_v2);
  find(library, "cuMemAlloc_v2", &api.cuMemAlloc_v2);
  find(library, "cuMemsetD8Async", &api.cuMemsetD8Async);
  find(library, "cuModuleLoadData", &api.cuModuleLoadData);
  find(library, "cuModuleGetFunction", &api.cuModuleGetFunction);
  find(library, "cuLaunchKernel", &api.cuLaunchKernel);
  find(library, "cuStreamCreate", &api.cuStreamCreate);
  find(library, "cuStreamQuery", &api.cuStreamQuery);
  find(library, "cuStreamIsCapturing", &api.cuStreamIsCapturing);
  find(library, "cuThreadExchangeStreamCaptureMode", &api.cuThreadExchangeStreamCaptureMode);
  find(library, "cuGetErrorName", &api.cuGetErrorName);
  api.check(api.cuInit(0), "cuInit");
  return api;
}

}  // namespace ringmeter
