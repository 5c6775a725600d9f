// The Python module fake_cuda_tensor: tensors that say they are on a CUDA device, and control of the fake
// driver. What it calls device memory is host memory, which the kernels of the fake driver read and write.
#include <pybind11/pybind11.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include "fake_cuda.h"
#include "third_party/dlpack/dlpack.h"

namespace py = pybind11;

namespace {

using ringmeter::DriverStream;
namespace fake = ringmeter::tests;

struct Dtype {
  const char* name;
  std::uint8_t code;
  std::uint8_t bits;
  std::uint16_t lanes;
  const char* format;  // of the module struct; null: its elements are given as bytes

  std::size_t bytes() const { return static_cast<std::size_t>(bits) * lanes / 8; }
  bool is(const char* other) const { return std::strcmp(name, other) == 0; }
};

constexpr Dtype kDtypes[] = {
    {"bool", kDLBool, 8, 1, "<?"},
    {"int8", kDLInt, 8, 1, "<b"},
    {"int16", kDLInt, 16, 1, "<h"},
    {"int32", kDLInt, 32, 1, "<i"},
    {"int64", kDLInt, 64, 1, "<q"},
    {"uint8", kDLUInt, 8, 1, "<B"},
    {"uint16", kDLUInt, 16, 1, "<H"},
    {"uint32", kDLUInt, 32, 1, "<I"},
    {"uint64", kDLUInt, 64, 1, "<Q"},
    {"float16", kDLFloat, 16, 1, "<e"},
    {"bfloat16", kDLBfloat, 16, 1, "<f"},  // the upper half
    {"float32", kDLFloat, 32, 1, "<f"},
    {"float64", kDLFloat, 64, 1, "<d"},
    {"float8_e4m3fn", kDLFloat8_e4m3fn, 8, 1, nullptr},
    {"float8_e4m3fnuz", kDLFloat8_e4m3fnuz, 8, 1, nullptr},
    {"float8_e5m2", kDLFloat8_e5m2, 8, 1, nullptr},
    {"float8_e5m2fnuz", kDLFloat8_e5m2fnuz, 8, 1, nullptr},
    {"float8_e8m0fnu", kDLFloat8_e8m0fnu, 8, 1, nullptr},
    {"complex64", kDLComplex, 64, 1, "<ff"},
    {"float4_e2m1fn_x2", kDLFloat4_e2m1fn, 4, 2, nullptr},
};

struct DeviceType {
  const char* name;
  int type;  // 0: the API refuses it
};

constexpr DeviceType kDeviceTypes[] = {
    {"cpu", kDLCPU},    {"cuda", kDLCUDA},   {"cuda_host", kDLCUDAHost}, {"cuda_managed", kDLCUDAManaged},
    {"rocm", kDLROCM},  {"metal", kDLMetal}, {"oneapi", kDLOneAPI},      {"maia", kDLMAIA},
    {"ext", kDLExtDev}, {"meta", 0},
};

template <typename Named, std::size_t kSize>
const Named& find(const Named (&all)[kSize], const char* what, const std::string& name) {
  const auto* found = std::find_if(all, all + kSize, [&](const Named& one) { return name == one.name; });
  if (found == all + kSize) throw py::value_error("no such " + std::string(what) + ": " + name);
  return *found;
}

py::object in_struct(const char* function) { return py::module_::import("struct").attr(function); }

// One element.
std::string encode(const Dtype& dtype, const py::handle& value) {
  if (dtype.format == nullptr) throw py::type_error(std::string(dtype.name) + " is given as bytes");
  const py::object pack = in_struct("pack");
  if (dtype.code == kDLComplex) {
    return pack(dtype.format, value.attr("real"), value.attr("imag")).cast<std::string>();
  }
  const std::string bytes = pack(dtype.format, value).cast<std::string>();
  if (dtype.code != kDLBfloat) return bytes;
  std::uint32_t bits = 0;
  std::memcpy(&bits, bytes.data(), sizeof bits);
  const bool is_nan = (bits & 0x7FFFFFFF) > 0x7F800000;
  bits = is_nan ? bits | 0x400000 : bits + 0x7FFF + (bits >> 16 & 1);  // to the nearest, ties to even
  const auto half = static_cast<std::uint16_t>(bits >> 16);
  return {reinterpret_cast<const char*>(&half), sizeof half};
}

py::object decode(const Dtype& dtype, const std::string& bytes) {
  if (dtype.format == nullptr) {
    PyErr_Format(PyExc_NotImplementedError, "item() of %s", dtype.name);
    throw py::error_already_set();
  }
  const std::string low = dtype.code == kDLBfloat ? std::string(2, '\0') : std::string();
  const py::tuple parts = in_struct("unpack")(dtype.format, py::bytes(low + bytes));
  if (parts.size() == 1) return parts[0];
  return py::reinterpret_steal<py::object>(
      PyComplex_FromDoubles(parts[0].cast<double>(), parts[1].cast<double>()));
}

// ---- streams ----

struct StreamState {
  int device;
  bool is_paused = false;
};

std::map<DriverStream, StreamState> streams;  // those that Python was given; under the GIL
std::string stream_error;                     // what asking for the current stream raises, if not empty
long items = 0;

thread_local std::map<int, DriverStream> current_streams;  // of each device; none: the default stream

// What null means on a device: a handle says it without a current context.
DriverStream default_stream(int device) {
  const DriverStream stream = fake::fake_default_stream(device);
  if (stream == nullptr) throw py::value_error("no such device: " + std::to_string(device));
  streams.insert({stream, {device}});
  return stream;
}

DriverStream current_stream(int device) {
  const auto found = current_streams.find(device);
  return found == current_streams.end() ? nullptr : found->second;
}

DriverStream queue_of(int device) {
  const DriverStream stream = current_stream(device);
  return stream == nullptr ? default_stream(device) : stream;
}

std::uintptr_t handle_of(DriverStream stream) { return reinterpret_cast<std::uintptr_t>(stream); }

DriverStream stream_of(std::uintptr_t handle) {
  const auto stream = reinterpret_cast<DriverStream>(handle);
  if (streams.count(stream) == 0) throw py::value_error("not a handle of new_stream() or default_stream()");
  return stream;
}

void pause(DriverStream stream, bool paused) {
  streams[stream].is_paused = paused;
  fake::fake_pause(stream, paused);
}

void sync(DriverStream stream) {
  if (streams[stream].is_paused) throw std::runtime_error("the stream is paused: that would wait for ever");
  // No gil_scoped_release: a daemon thread may end here at exit, by unwinding, which destructors do not
  // stand.
  Py_BEGIN_ALLOW_THREADS
  fake::fake_sync(stream);
  Py_END_ALLOW_THREADS
}

// ---- the tensor ----

struct Memory {
  const Dtype* dtype;
  const DeviceType* device_type;
  std::vector<std::int64_t> shape;
  std::vector<std::int64_t> strides;
  std::size_t elements = 1;
  char* data = nullptr;  // never freed: queued work may read it after the tensor is gone
  std::string error;     // what reading it through the API raises, if not empty

  std::size_t bytes() const { return elements * dtype->bytes(); }

  // The bits of all elements: each the same, if one is given.
  std::string bits_of(const py::handle& value) const {
    const std::string given = PyBytes_Check(value.ptr()) ? value.cast<std::string>() : encode(*dtype, value);
    if (given.size() == bytes()) return given;
    if (given.size() != dtype->bytes()) throw py::value_error("bytes of one element, or of all");
    std::string all;
    for (std::size_t i = 0; i < elements; ++i) all += given;
    return all;
  }

  char* checked_data() const {
    if (data == nullptr) throw std::runtime_error("the tensor has no storage");
    return data;
  }
};

struct Tensor {
  PyObject_HEAD
  DLTensor view;
  Memory* memory;
};

Tensor* tensor_of(void* self) { return static_cast<Tensor*>(self); }
Memory& memory_of(PyObject* self) { return *reinterpret_cast<Tensor*>(self)->memory; }

// What `body` returns, or null with what it threw as a Python error.
template <typename Body>
PyObject* guarded(Body body) {
  try {
    return py::object(body()).release().ptr();
  } catch (py::error_already_set& error) {
    error.restore();
  } catch (const py::builtin_exception& error) {
    error.set_error();
  } catch (const std::exception& error) {
    PyErr_SetString(PyExc_RuntimeError, error.what());
  }
  return nullptr;
}

PyObject* tensor_new(PyTypeObject* type, PyObject* arguments, PyObject* keywords) {
  static const char* const kNames[] = {"value",       "dtype",     "device", "shape",
                                       "device_type", "null_data", "error",  nullptr};
  PyObject* value = nullptr;
  const char* dtype = "float32";
  int device = 0;
  PyObject* shape = nullptr;
  const char* device_type = "cuda";
  int null_data = 0;
  const char* error = "";
  if (PyArg_ParseTupleAndKeywords(arguments, keywords, "O|siO$sps:FakeCudaTensor", const_cast<char**>(kNames),
                                  &value, &dtype, &device, &shape, &device_type, &null_data, &error) == 0) {
    return nullptr;
  }
  return guarded([&] {
    auto self = py::reinterpret_steal<py::object>(type->tp_alloc(type, 0));
    if (!self) throw py::error_already_set();
    auto* memory = new Memory;
    tensor_of(self.ptr())->memory = memory;
    memory->dtype = &find(kDtypes, "dtype", dtype);
    memory->device_type = &find(kDeviceTypes, "device type", device_type);
    memory->error = memory->device_type->type == 0 ? "Cannot pack tensors on meta" : error;
    if (shape != nullptr) {
      for (const py::handle size : py::reinterpret_borrow<py::object>(shape)) {
        memory->shape.push_back(size.cast<std::int64_t>());
        if (memory->shape.back() < 0) throw py::value_error("a negative size");
      }
    }
    memory->strides.resize(memory->shape.size());
    for (std::size_t i = memory->shape.size(); i-- > 0;) {
      memory->strides[i] = static_cast<std::int64_t>(memory->elements);
      memory->elements *= static_cast<std::size_t>(memory->shape[i]);
    }
    if (null_data == 0 && memory->elements > 0) {
      const std::string bits = memory->bits_of(value);
      memory->data = static_cast<char*>(std::aligned_alloc(256, (bits.size() + 255) / 256 * 256));
      std::memcpy(memory->data, bits.data(), bits.size());
    }
    DLTensor& view = tensor_of(self.ptr())->view;
    view.data = memory->data;
    view.device = {static_cast<DLDeviceType>(memory->device_type->type), device};
    view.ndim = static_cast<std::int32_t>(memory->shape.size());
    view.dtype = {memory->dtype->code, memory->dtype->bits, memory->dtype->lanes};
    view.shape = memory->shape.data();
    view.strides = memory->strides.data();
    return self;
  });
}

void tensor_dealloc(PyObject* self) {
  PyTypeObject* type = Py_TYPE(self);
  delete tensor_of(self)->memory;
  type->tp_free(self);
  Py_DECREF(type);
}

// As of a tensor on a device: counted, and it waits for the stream.
PyObject* tensor_item(PyObject* self, PyObject*) {
  return guarded([&] {
    ++items;
    const Memory& memory = memory_of(self);
    if (memory.elements != 1) throw std::runtime_error("item() of a tensor that has not one element");
    const char* data = memory.checked_data();
    sync(queue_of(tensor_of(self)->view.device.device_id));
    return decode(*memory.dtype, std::string(data, memory.bytes()));
  });
}

// The memory as it is now.
PyObject* tensor_bits(PyObject* self, PyObject*) {
  return guarded([&] { return py::bytes(memory_of(self).checked_data(), memory_of(self).bytes()); });
}

PyObject* tensor_fill(PyObject* self, PyObject* value) {
  return guarded([&] {
    const std::string bits = memory_of(self).bits_of(value);
    std::memcpy(memory_of(self).checked_data(), bits.data(), bits.size());
    return py::none();
  });
}

PyObject* tensor_write(PyObject* self, PyObject* value) {
  return guarded([&] {
    const std::string bits = memory_of(self).bits_of(value);
    const DriverStream stream = queue_of(tensor_of(self)->view.device.device_id);
    fake::fake_write(stream, memory_of(self).checked_data(), bits.data(), bits.size());
    return py::none();
  });
}

PyObject* tensor_data_ptr(PyObject* self, PyObject*) { return PyLong_FromVoidPtr(memory_of(self).data); }

PyObject* tensor_numel(PyObject* self, PyObject*) { return PyLong_FromSize_t(memory_of(self).elements); }
PyObject* tensor_dtype(PyObject* self, void*) { return PyUnicode_FromString(memory_of(self).dtype->name); }
PyObject* tensor_device(PyObject* self, void*) {
  return PyLong_FromLong(tensor_of(self)->view.device.device_id);
}
PyObject* tensor_device_type(PyObject* self, void*) {
  return PyUnicode_FromString(memory_of(self).device_type->name);
}
PyObject* tensor_ndim(PyObject* self, void*) { return PyLong_FromLong(tensor_of(self)->view.ndim); }
PyObject* tensor_shape(PyObject* self, void*) {
  return guarded([&] {
    py::list sizes;
    for (const std::int64_t size : memory_of(self).shape) sizes.append(size);
    return py::tuple(sizes);
  });
}
PyObject* tensor_is_cuda(PyObject* self, void*) {
  const int type = memory_of(self).device_type->type;
  return PyBool_FromLong(type == kDLCUDA || type == kDLCUDAManaged || type == kDLROCM);  // as torch says
}

PyMethodDef tensor_methods[] = {
    {"item", tensor_item, METH_NOARGS, "item(): the number, once the stream is done. Counted."},
    {"bits", tensor_bits, METH_NOARGS, "bits(): the memory as it is now. Not counted."},
    {"fill", tensor_fill, METH_O, "fill(value): overwrite the memory now."},
    {"write", tensor_write, METH_O, "write(value): overwrite it in the order of the current stream."},
    {"data_ptr", tensor_data_ptr, METH_NOARGS, "data_ptr(): the address; 0 without memory."},
    {"numel", tensor_numel, METH_NOARGS, "numel()"},
    {},
};

PyGetSetDef tensor_attributes[] = {
    {"dtype", tensor_dtype, nullptr, nullptr, nullptr},
    {"device", tensor_device, nullptr, nullptr, nullptr},
    {"device_type", tensor_device_type, nullptr, nullptr, nullptr},
    {"shape", tensor_shape, nullptr, nullptr, nullptr},
    {"ndim", tensor_ndim, nullptr, nullptr, nullptr},
    {"is_cuda", tensor_is_cuda, nullptr, nullptr, nullptr},
    {},
};

PyType_Slot tensor_slots[] = {
    {Py_tp_new, reinterpret_cast<void*>(tensor_new)},
    {Py_tp_dealloc, reinterpret_cast<void*>(tensor_dealloc)},
    {Py_tp_methods, tensor_methods},
    {Py_tp_getset, tensor_attributes},
    {0, nullptr},
};

PyType_Spec tensor_spec = {"fake_cuda_tensor.FakeCudaTensor", sizeof(Tensor), 0,
                           Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, tensor_slots};

// ---- the exchange API, as far as ringmeter uses it ----

int api_tensor(void* object, DLTensor* out) {
  const Tensor* tensor = tensor_of(object);
  if (!tensor->memory->error.empty()) {
    PyErr_SetString(PyExc_RuntimeError, tensor->memory->error.c_str());
    return -1;
  }
  *out = tensor->view;
  return 0;
}

int api_current_stream(DLDeviceType type, std::int32_t device, void** out) {
  if (!stream_error.empty()) {
    PyErr_SetString(PyExc_RuntimeError, stream_error.c_str());
    return -1;
  }
  // As torch: null for all other types, which then does not mean a default stream.
  *out = type == kDLCUDA || type == kDLROCM ? current_stream(device) : nullptr;
  return 0;
}

int refuse() {
  PyErr_SetString(PyExc_NotImplementedError, "not in the fake");
  return -1;
}

DLPackExchangeAPI exchange_api = {
    {{1, 3}, nullptr},
    [](DLTensor*, DLManagedTensorVersioned**, void*, void (*)(void*, const char*, const char*)) {
      return refuse();
    },
    [](void*, DLManagedTensorVersioned**) { return refuse(); },
    [](DLManagedTensorVersioned*, void**) { return refuse(); },
    api_tensor,
    api_current_stream,
};

}  // namespace

PYBIND11_MODULE(fake_cuda_tensor, module) {
  auto type = py::reinterpret_steal<py::object>(PyType_FromSpec(&tensor_spec));
  if (!type) throw py::error_already_set();
  type.attr("__dlpack_c_exchange_api__") = py::capsule(&exchange_api, "dlpack_exchange_api");
  module.attr("FakeCudaTensor") = type;
  module.def("item_calls", [] { return items; });

  // Streams. Handles are ints; 0 is the default stream of a device, where the device is clear.
  module.def("new_stream", [](int device) {
    const DriverStream stream = fake::fake_stream(device);
    streams.insert({stream, {device}});
    return handle_of(stream);
  });
  module.def("default_stream", [](int device) { return handle_of(default_stream(device)); });
  module.def(
      "set_stream",
      [](int device, std::uintptr_t handle) {
        current_streams[device] = handle == 0 ? nullptr : stream_of(handle);
      },
      py::arg("device"), py::arg("handle"));
  module.def("get_stream", [](int device) { return handle_of(current_stream(device)); });
  module.def("delay", [](std::uintptr_t handle, int microseconds) {
    fake::fake_delay(stream_of(handle), microseconds);
  });
  module.def(
      "pause", [](std::uintptr_t handle, bool paused) { pause(stream_of(handle), paused); },
      py::arg("handle"), py::arg("paused") = true);
  module.def("sync", [](std::uintptr_t handle) { sync(stream_of(handle)); });
  module.def("fail_current_stream", [](const std::string& error) { stream_error = error; });

  // The driver.
  module.def("reset", [] {
    items = 0;
    fake::fake_reset();
  });
  module.def(
      "fail",
      [](const std::string& function, long nth, int result, bool for_ever) {
        fake::fake_fail(function.c_str(), nth, result, for_ever);
      },
      py::arg("function"), py::arg("nth"), py::arg("result"), py::arg("for_ever") = false);
  module.def("calls", [](const std::string& function) { return fake::fake_calls(function.c_str()); });
  module.def("set_ptx_version", &fake::fake_set_ptx_version, py::arg("major"), py::arg("minor"));

  module.def("immediate", &fake::fake_immediate, py::arg("immediate"));
  module.def("shutdown", &fake::fake_shutdown, py::arg("is_shut_down"));

  // Captures. A graph is an opaque number; none when the capture was invalidated.
  module.def(
      "begin_capture",
      [](std::uintptr_t handle, int mode) { return fake::fake_begin_capture(stream_of(handle), mode); },
      py::arg("handle"), py::arg("mode") = ringmeter::kCaptureModeGlobal);
  module.def("end_capture", [](std::uintptr_t handle) -> py::object {
    fake::FakeGraph* graph = nullptr;
    if (fake::fake_end_capture(stream_of(handle), &graph) != ringmeter::kSuccess) return py::none();
    return py::int_(reinterpret_cast<std::uintptr_t>(graph));
  });
  module.def("replay", [](std::uintptr_t graph, std::uintptr_t handle) {
    return fake::fake_replay(reinterpret_cast<fake::FakeGraph*>(graph), stream_of(handle));
  });
  module.def("nodes", [](std::uintptr_t graph) {
    return fake::fake_nodes(reinterpret_cast<fake::FakeGraph*>(graph));
  });

  // Nothing paused, delayed or queued; the calling thread is back on the default streams.
  module.def("restore", [] {
    stream_error.clear();
    current_streams.clear();
    std::vector<DriverStream> all;  // others may add to the map during sync()
    for (const auto& [stream, state] : streams) all.push_back(stream);
    for (const DriverStream stream : all) {
      fake::fake_delay(stream, 0);
      pause(stream, false);
    }
    for (const DriverStream stream : all) sync(stream);
  });
}
