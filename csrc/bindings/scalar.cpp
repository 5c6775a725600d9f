#include "bindings/scalar.h"

#include <cmath>
#include <cstdint>
#include <utility>

#include "bindings/landing.h"
#include "bindings/python_errors.h"
#include "bindings/tensor_reader.h"
#include "device/devices.h"

namespace ringmeter::bindings {

namespace {

// Set once by find_numpy_types(); kept for the life of the process.
PyTypeObject* float64_type = nullptr;
PyObject* int64_type = nullptr;
PyObject* uint64_type = nullptr;
PyObject* bool_type = nullptr;
bool float64_is_float = false;  // np.float64 objects are laid out as Python floats

bool read_int(PyObject* value, Number* out) {
  int overflow = 0;
  const long long small = PyLong_AsLongLongAndOverflow(value, &overflow);
  if (overflow == 0) {
    *out = Number::integer(static_cast<std::int64_t>(small));
    return small != -1 || PyErr_Occurred() == nullptr;
  }
  if (overflow > 0) {
    const unsigned long long large = PyLong_AsUnsignedLongLong(value);
    if (PyErr_Occurred() == nullptr) {
      *out = Number::integer(static_cast<std::uint64_t>(large));
      return true;
    }
    PyErr_Clear();
  }
  // Beyond 64 bits no integer dtype holds it: rounded to a float. Too large for that: OverflowError.
  *out = Number::real(PyLong_AsDouble(value));
  return PyErr_Occurred() == nullptr;
}

// The types that take no look-up. False, without an error, when it is none of them.
bool read_builtin(PyObject* value, Number* out) {
  if (PyFloat_Check(value)) {  // np.float64 is one
    *out = Number::real(PyFloat_AS_DOUBLE(value));
    return true;
  }
  if (PyBool_Check(value)) {
    *out = Number::boolean(value == Py_True);
    return true;
  }
  return PyLong_Check(value) && read_int(value, out);
}

// (source, DLPack type code, bits, ordinal, stream): a tensor on a CUDA device that Python had to be asked
// about.
bool read_description(PyObject* description, DeviceTensor* out) {
  unsigned long long source = 0;
  unsigned long long stream = 0;
  int code = 0;
  int bits = 0;
  if (!PyArg_ParseTuple(description, "KiiiK", &source, &code, &bits, &out->ordinal, &stream)) return false;
  if (!element_type(static_cast<std::uint8_t>(code), static_cast<std::uint8_t>(bits), 1, &out->scalar.type)) {
    PyErr_SetString(PyExc_ValueError, "not a DLPack type of one real element");
    return false;
  }
  out->scalar.source = source;
  out->stream = reinterpret_cast<DriverStream>(static_cast<std::uintptr_t>(stream));
  return true;
}

void set_on_device(PyObject* object, const DeviceTensor& tensor, Value* out) {
  out->set(Value::Kind::kOnDevice, element_kind(tensor.scalar.type), object);
  out->tensor = tensor;
}

bool read_staged(PyObject* staged, Value* out) {
  PyObject* kind = PyObject_GetAttrString(staged, "kind");
  const long number = kind == nullptr ? -1 : PyLong_AsLong(kind);
  Py_XDECREF(kind);
  if (PyErr_Occurred() != nullptr) return false;
  out->set(Value::Kind::kStaged, static_cast<NumberKind>(number), staged);
  return true;
}

// Everything else, by ringmeter._scalars: `function`(value, key). New reference, or null with an error set.
__attribute__((noinline)) PyObject* ask_python(const char* function, PyObject* value, PyObject* key) {
  static PyObject* module = nullptr;  // set once, under the GIL
  if (module == nullptr) module = PyImport_ImportModule("ringmeter._scalars");
  if (module == nullptr) return nullptr;
  return PyObject_CallMethod(module, function, "OO", value, key == nullptr ? Py_None : key);
}

// A float, an int or a bool; a ringmeter._staging.Staged; or a description.
__attribute__((noinline)) bool read_in_python(PyObject* value, PyObject* key, Value* out) {
  PyObject* scalar = ask_python("as_scalar", value, key);
  if (scalar == nullptr) return false;
  bool read = true;
  DeviceTensor tensor;
  if (PyTuple_Check(scalar)) {
    read = read_description(scalar, &tensor);
    if (read) set_on_device(value, tensor, out);
  } else if (!read_builtin(scalar, &out->number)) {
    read = PyErr_Occurred() == nullptr && read_staged(scalar, out);
  }
  Py_DECREF(scalar);
  return read;
}

PyObject* call_with(PyObject* type, PyObject* argument) {
  if (argument == nullptr) return nullptr;
  PyObject* result = PyObject_CallFunctionObjArgs(type, argument, nullptr);
  Py_DECREF(argument);
  return result;
}

PyObject* python_int(const Number& number) {
  const double limit = 9223372036854775808.0;  // 2^63
  const auto low = static_cast<std::int64_t>(number.low);
  if (number.high >= -limit && number.high < limit) {
    const auto high = static_cast<std::int64_t>(number.high);
    if (low <= 0 ? high >= INT64_MIN - low : high <= INT64_MAX - low) return PyLong_FromLongLong(high + low);
  }
  // At or above 2^63, or a sum beyond 64 bits.
  PyObject* high = PyLong_FromDouble(number.high);
  PyObject* rest = PyLong_FromLongLong(low);
  PyObject* sum = high == nullptr || rest == nullptr ? nullptr : PyNumber_Add(high, rest);
  Py_XDECREF(high);
  Py_XDECREF(rest);
  return sum;
}

}  // namespace

Value::Value(Value&& other) noexcept : kind(other.kind), number(other.number) {
  if (kind == Kind::kNumber) return;
  tensor = other.tensor;
  object = std::exchange(other.object, nullptr);
  device = std::exchange(other.device, nullptr);
  launched = other.launched;
}

void Value::drop() {
  if (device != nullptr) device->commit(launched, Receiver{});
  Py_XDECREF(object);
}

bool read_value(PyObject* value, PyObject* key, Value* out) {
  if (PyFloat_CheckExact(value)) {
    out->number = Number::real(PyFloat_AS_DOUBLE(value));
    return true;
  }
  if (read_builtin(value, &out->number)) return true;
  if (PyErr_Occurred() != nullptr) {
    PyErr_Clear();
    raise_for(key, "ScalarError", "value must fit a float64, got an int beyond 1.8e308");
    return false;
  }
  const TensorRead read = read_tensor(value, &out->number, &out->tensor);
  if (read == TensorRead::kOk) return true;
  if (read == TensorRead::kOnDevice && find_device(out->tensor.ordinal)) {
    out->set(Value::Kind::kOnDevice, element_kind(out->tensor.scalar.type), value);
    return true;
  }
  if (read == TensorRead::kOnDevice && Devices::instance().is_forked()) {  // even .item() would fail
    raise_for(key, "DeviceError", "cuda:%d cannot be used: %s", out->tensor.ordinal,
              Devices::instance().problem(out->tensor.ordinal).c_str());
    return false;
  }
  return read_in_python(value, key, out);
}

bool read_number(PyObject* value, PyObject* key, Number* out) {
  if (read_builtin(value, out)) return true;
  PyErr_Clear();
  DeviceTensor tensor;
  if (read_tensor(value, out, &tensor) == TensorRead::kOk) return true;
  PyObject* number = ask_python("as_number", value, key);
  if (number == nullptr) return false;
  const bool read = read_builtin(number, out);
  Py_DECREF(number);
  return read;
}

bool read_count(PyObject* count, PyObject* key, bool integer_only, Number* out) {
  const bool is_number = read_number(count, key, out);
  if (!is_number) {
    if (PyErr_ExceptionMatches(PyExc_ValueError) == 0) return false;  // an interrupt, no memory
    PyErr_Clear();
  }
  const bool whole = PyLong_Check(count) || (is_number && out->kind != NumberKind::kFloat);
  if (!whole && (!is_number || integer_only || !std::isfinite(out->high))) {
    raise_for(key, "ScalarError", "count must be %s, got %R", integer_only ? "an int" : "a finite number",
              count);
    return false;
  }
  if (whole && (!is_number || out->low != 0.0 || std::fabs(out->high) > 9007199254740992.0)) {
    raise_for(key, "ScalarError", "count must be at most 2**53, got %R", count);
    return false;
  }
  return true;
}

PyObject* to_numpy(double value) {
  if (!float64_is_float)
    return call_with(reinterpret_cast<PyObject*>(float64_type), PyFloat_FromDouble(value));
  PyObject* result = float64_type->tp_alloc(float64_type, 0);
  if (result != nullptr) reinterpret_cast<PyFloatObject*>(result)->ob_fval = value;
  return result;
}

PyObject* to_numpy(const Number& number) {
  if (number.kind == NumberKind::kFloat) return to_numpy(number.high);
  if (number.kind == NumberKind::kBool) {
    return call_with(bool_type, PyBool_FromLong(number.high != 0.0));
  }
  PyObject* value = python_int(number);
  if (value == nullptr) return nullptr;
  int overflow = 0;
  PyLong_AsLongLongAndOverflow(value, &overflow);
  if (overflow == 0) return call_with(int64_type, value);
  PyErr_Clear();
  PyLong_AsUnsignedLongLong(value);
  if (PyErr_Occurred() == nullptr) return call_with(uint64_type, value);
  PyErr_Clear();
  Py_DECREF(value);
  return to_numpy(number.high);
}

PyObject* to_python(const Number& number) {
  if (number.kind == NumberKind::kFloat) return PyFloat_FromDouble(number.high);
  if (number.kind == NumberKind::kBool) return PyBool_FromLong(number.high != 0.0);
  return python_int(number);
}

bool find_numpy_types() {
  PyObject* numpy = PyImport_ImportModule("numpy");
  if (numpy == nullptr) return false;
  float64_type = reinterpret_cast<PyTypeObject*>(PyObject_GetAttrString(numpy, "float64"));
  int64_type = PyObject_GetAttrString(numpy, "int64");
  uint64_type = PyObject_GetAttrString(numpy, "uint64");
  bool_type = PyObject_GetAttrString(numpy, "bool_");
  Py_DECREF(numpy);
  if (float64_type == nullptr || int64_type == nullptr || uint64_type == nullptr || bool_type == nullptr) {
    return false;
  }
  // np.float64 derives from float, so it must begin like one; and it adds nothing.
  float64_is_float = PyType_IsSubtype(float64_type, &PyFloat_Type) != 0 &&
                     float64_type->tp_basicsize == PyFloat_Type.tp_basicsize;
  return true;
}

}  // namespace ringmeter::bindings
