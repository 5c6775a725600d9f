// Reads one-element CPU tensors through the DLPack C exchange API: no Python call, no copy.
#pragma once

#include <Python.h>

#include "core/number.h"

namespace ringmeter::bindings {

enum class TensorRead {
  kOk,
  kNotHere,  // not a tensor that this way can read: ask Python
};

// Reads `value` when its type offers the API (torch.Tensor from 2.10 on, and subclasses) and it is one
// real element in host memory. Leaves no Python error behind.
TensorRead read_tensor(PyObject* value, Number* out);

}  // namespace ringmeter::bindings
