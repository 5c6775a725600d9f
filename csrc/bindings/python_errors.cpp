#include "bindings/python_errors.h"

#include <cstdarg>

namespace ringmeter::bindings {

namespace {

PyObject* set_error(const char* name, PyObject* message) {
  if (message == nullptr) return nullptr;
  // Only on the way to an error: no need to keep the module.
  PyObject* module = PyImport_ImportModule("ringmeter._errors");
  PyObject* error = module == nullptr ? nullptr : PyObject_GetAttrString(module, name);
  if (error != nullptr) PyErr_SetObject(error, message);
  Py_XDECREF(error);
  Py_XDECREF(module);
  Py_DECREF(message);
  return nullptr;
}

}  // namespace

PyObject* raise(const char* name, const char* format, ...) {
  std::va_list arguments;
  va_start(arguments, format);
  PyObject* message = PyUnicode_FromFormatV(format, arguments);
  va_end(arguments);
  return set_error(name, message);
}

PyObject* raise_for(PyObject* key, const char* name, const char* format, ...) {
  std::va_list arguments;
  va_start(arguments, format);
  PyObject* message = PyUnicode_FromFormatV(format, arguments);
  va_end(arguments);
  if (message != nullptr && key != nullptr) {
    PyObject* named = PyUnicode_FromFormat("series %R: %U", key, message);
    Py_DECREF(message);
    message = named;
  }
  return set_error(name, message);
}

}  // namespace ringmeter::bindings
