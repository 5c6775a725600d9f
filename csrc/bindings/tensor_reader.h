// Reads one-element tensors through the DLPack C exchange API: no Python call, no copy.
#pragma once

#include <Python.h>

#include "core/number.h"
#include "device/device.h"

namespace ringmeter::bindings {

// A one-element tensor on a CUDA device, and the stream that work on it goes to now.
struct DeviceTensor {
  DeviceScalar scalar;
  int ordinal;
  DriverStream stream;
};

inline bool is_same_queue(const DeviceTensor& a, const DeviceTensor& b) {
  return a.ordinal == b.ordinal && a.stream == b.stream;
}

enum class TensorRead {
  kOk,
  kOnDevice,
  kNotHere,  // not a tensor that this way can read: ask Python
};

// Reads `value` when its type offers the API (torch.Tensor from 2.10 on, and subclasses) and it is one
// real element in host memory, or says where it lies when that is a CUDA device. Leaves no Python error
// behind.
TensorRead read_tensor(PyObject* value, Number* number, DeviceTensor* tensor);

// The device of the newest DeviceTensor, or -1; and the stream that work on a device goes to now, as the
// library of that tensor has it. False when that is not to be known, perhaps with an error set.
int last_ordinal();
bool current_stream(int ordinal, DriverStream* out);

}  // namespace ringmeter::bindings
