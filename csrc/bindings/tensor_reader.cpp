#include "bindings/tensor_reader.h"

#include <array>
#include <cstddef>

#include "bindings/recomputation.h"
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
  __attribute__((noinline)) static const DLPackExchangeAPI* ask(PyTypeObject* type) {
    look_for_autograd();  // torch may just have been imported
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

// Of the newest DeviceTensor. Under the GIL.
const DLPackExchangeAPI* last_api = nullptr;
int last_device = -1;

bool is_one_element(const DLTensor& tensor) {
  for (int i = 0; i < tensor.ndim; ++i) {
    if (tensor.shape[i] != 1) return false;
  }
  return tensor.data != nullptr;  // null for fake, wrapper and resized-to-nothing tensors
}

// Kept out of the way of tensors on the CPU.
__attribute__((noinline)) TensorRead locate(const DLPackExchangeAPI* api, const DLTensor& view,
                                            DeviceTensor* tensor) {
  ElementType type;
  // ROCm calls itself "cuda" in torch, but not here.
  if ((view.device.device_type != kDLCUDA && view.device.device_type != kDLCUDAManaged) ||
      !is_one_element(view) || !element_type(view.dtype.code, view.dtype.bits, view.dtype.lanes, &type)) {
    return TensorRead::kNotHere;
  }
  // Of the calling thread: never kept. A null stream is the default one, for these devices.
  void* stream = nullptr;
  if (api->current_work_stream == nullptr ||
      api->current_work_stream(kDLCUDA, view.device.device_id, &stream) != 0) {
    PyErr_Clear();
    return TensorRead::kNotHere;
  }
  const auto address = reinterpret_cast<std::uintptr_t>(view.data) + view.byte_offset;
  *tensor = {{address, type}, view.device.device_id, static_cast<DriverStream>(stream)};
  last_api = api;
  last_device = tensor->ordinal;
  return TensorRead::kOnDevice;
}

}  // namespace

TensorRead read_tensor(PyObject* value, Number* number, DeviceTensor* tensor) {
  const DLPackExchangeAPI* api = types().find(Py_TYPE(value));
  if (api == nullptr) return TensorRead::kNotHere;
  DLTensor view;
  if (api->dltensor_from_py_object_no_sync(value, &view) != 0) {
    PyErr_Clear();
    return TensorRead::kNotHere;
  }
  if (view.device.device_type != kDLCPU) return locate(api, view, tensor);
  ElementType type;
  if (!is_one_element(view) || !element_type(view.dtype.code, view.dtype.bits, view.dtype.lanes, &type)) {
    return TensorRead::kNotHere;
  }
  *number = decode_element(type, static_cast<const char*>(view.data) + view.byte_offset);
  return TensorRead::kOk;
}

int last_ordinal() { return last_device; }

bool current_stream(int ordinal, DriverStream* out) {
  void* stream = nullptr;
  if (last_api == nullptr || last_api->current_work_stream(kDLCUDA, ordinal, &stream) != 0) {
    PyErr_Clear();
    return false;
  }
  *out = static_cast<DriverStream>(stream);
  return true;
}

}  // namespace ringmeter::bindings
