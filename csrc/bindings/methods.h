// Methods written against the C API: their arguments, and the class that they belong to.
#pragma once

#include <Python.h>

#include <cstddef>

namespace ringmeter::bindings {

// For a METH_FASTCALL | METH_KEYWORDS function in a PyMethodDef.
template <class Function>
PyCFunction as_method(Function* function) {
  return reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(function));
}

// The parameters of one method: the first `positional` may be given by position, the rest by name only; the
// first `required` must be given.
struct Signature {
  const char* method;
  const char* const* names;  // null at the end
  Py_ssize_t positional;
  Py_ssize_t required;
};

bool sort_named_arguments(const Signature& signature, PyObject* const* args, Py_ssize_t nargs,
                          PyObject* kwnames, PyObject** out);

// Puts borrowed references into `out`, one per name; those not given stay null. False with a TypeError
// set: too many or too few, unknown or repeated.
inline bool sort_arguments(const Signature& signature, PyObject* const* args, Py_ssize_t nargs,
                           PyObject* kwnames, PyObject** out) {
  if (kwnames != nullptr || nargs > signature.positional || nargs < signature.required) {
    return sort_named_arguments(signature, args, nargs, kwnames, out);
  }
  for (Py_ssize_t i = 0; i < nargs; ++i) out[i] = args[i];
  return true;
}

// Appends a new reference to a list. When either is null, with an error set, or that fails, the list becomes
// null.
void append_to(PyObject** list, PyObject* item);

// Makes these methods of a base class methods of `cls` itself, those that it does not define. CPython's
// specialised call is for methods whose class is exactly that of the object; an inherited method of C
// costs 15 ns more. False with an error set.
bool own_methods(PyTypeObject* cls, PyMethodDef* methods);

}  // namespace ringmeter::bindings
