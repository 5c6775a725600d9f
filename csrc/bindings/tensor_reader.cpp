#include "bindings/tensor_reader.h"

#include <array>
#include <cstddef>

#include "core/element.h"
#include "third_party/dlpack/dlpack.h"

namespace ringmeter::bindings {

namespace {

// Which types offer the API, and which are known not to: asking a type costs a failed attribute
// look-up (about 1 us). Types are kept alive, so that an address is never another type later.
// Protected by the GIL. When it is full, types that do not offer the API are asked every time.
class TypeTable {
 public:
  struct Entry {
    PyTypeObject* type;
    const DLPackExchangeAPI* api;  // null: the type does not offer it
  };

  const DLPackExchangeAPI* find(PyTypeObject* type) {
    const std::size_t start = (reinterpret_cast<std::uintptr_t>(type) >> 4) % kSize;
    for (std::size_t probe = 0; probe < kProbes; ++probe) {
      Entry& entry = entries_[(start + probe) % kSize];
      if (entry.type == type) return entry.api;
      if (entry.type == nullptr) {
        const DLPackExchangeAPI* api = ask(type);
        Py_INCREF(type);
        entry = {type, api};
        return api;
      }
    }
    return ask(type);
  }

 private:
  static const DLPackExchangeAPI* ask(PyTypeObject* type) {
    PyObject* capsule =
        PyObject_GetAttrString(reinterpret_cast<PyObject*>(type), "__dlpack_c_exchange_api__");
    if (capsule == nullptr) {
      PyErr_Clear();
      return nullptr;
    }
    const auto* api = static_cast<const DLPackExchangeAPI*>(
        PyCapsule_CheckExact(capsule) ? PyCapsule_GetPointer(capsule, "dlpack_exchange_api") : nullptr);
    Py_DECREF(capsule);
    PyErr_Clear();
    if (api == nullptr || api->header.version.major != DLPACK_MAJOR_VERSION ||
        api->dltensor_from_py_object_no_sync == nullptr) {
      return nullptr;
    }
    return api;
  }

  static constexpr std::size_t kSize = 64;
  static constexpr std::size_t kProbes = 8;
  std::array<Entry, kSize> entries_ = {};
};

TypeTable& types() {
  static TypeTable table;
  return table;
}

bool is_one_element(const DLTensor& tensor) {
  for (int i = 0; i < tensor.ndim; ++i) {
    if (tensor.shape[i] != 1) return false;
  }
  return tensor.data != nullptr;  // null for fake, wrapper and resized-to-nothing tensors
}

}  // namespace

TensorRead read_tensor(PyObject* value, Number* out) {
  const DLPackExchangeAPI* api = types().find(Py_TYPE(value));
  if (api == nullptr) return TensorRead::kNotHere;
  DLTensor tensor;
  if (api->dltensor_from_py_object_no_sync(value, &tensor) != 0) {
    PyErr_Clear();
    return TensorRead::kNotHere;
  }
  ElementType type;
  if (tensor.device.device_type != kDLCPU || !is_one_element(tensor) ||
      !element_type(tensor.dtype.code, tensor.dtype.bits, tensor.dtype.lanes, &type)) {
    return TensorRead::kNotHere;
  }
  *out = decode_element(type, static_cast<const char*>(tensor.data) + tensor.byte_offset);
  return TensorRead::kOk;
}

}  // namespace ringmeter::bindings
