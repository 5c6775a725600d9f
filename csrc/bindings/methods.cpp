#include "bindings/methods.h"

namespace ringmeter::bindings {

bool sort_named_arguments(const Signature& signature, PyObject* const* args, Py_ssize_t nargs,
                          PyObject* kwnames, PyObject** out) {
  if (nargs > signature.positional) {
    PyErr_Format(PyExc_TypeError, "%s() takes at most %zd positional arguments (%zd given)", signature.method,
                 signature.positional, nargs);
    return false;
  }
  for (Py_ssize_t i = 0; i < nargs; ++i) out[i] = args[i];
  const Py_ssize_t named = kwnames == nullptr ? 0 : PyTuple_GET_SIZE(kwnames);
  for (Py_ssize_t i = 0; i < named; ++i) {
    PyObject* name = PyTuple_GET_ITEM(kwnames, i);
    Py_ssize_t place = 0;
    while (signature.names[place] != nullptr &&
           PyUnicode_CompareWithASCIIString(name, signature.names[place]) != 0) {
      ++place;
    }
    if (signature.names[place] == nullptr) {
      PyErr_Format(PyExc_TypeError, "%s() got an unexpected keyword argument %R", signature.method, name);
      return false;
    }
    if (out[place] != nullptr) {
      PyErr_Format(PyExc_TypeError, "%s() got multiple values for argument %R", signature.method, name);
      return false;
    }
    out[place] = args[nargs + i];
  }
  for (Py_ssize_t i = 0; i < signature.required; ++i) {
    if (out[i] == nullptr) {
      PyErr_Format(PyExc_TypeError, "%s() missing required argument: '%s'", signature.method,
                   signature.names[i]);
      return false;
    }
  }
  return true;
}

void append_to(PyObject** list, PyObject* item) {
  if (*list == nullptr || item == nullptr || PyList_Append(*list, item) != 0) Py_CLEAR(*list);
  Py_XDECREF(item);
}

bool own_methods(PyTypeObject* cls, PyMethodDef* methods) {
  PyObject* object = reinterpret_cast<PyObject*>(cls);
  PyObject* own = PyObject_GetAttrString(object, "__dict__");
  if (own == nullptr) return false;
  bool done = true;
  for (PyMethodDef* method = methods; done && method->ml_name != nullptr; ++method) {
    PyObject* name = PyUnicode_FromString(method->ml_name);
    const int defined = name == nullptr ? -1 : PySequence_Contains(own, name);
    if (defined == 0) {
      PyObject* descriptor = PyDescr_NewMethod(cls, method);
      done = descriptor != nullptr && PyObject_SetAttr(object, name, descriptor) == 0;
      Py_XDECREF(descriptor);
    }
    done = done && defined >= 0;
    Py_XDECREF(name);
  }
  Py_DECREF(own);
  return done;
}

}  // namespace ringmeter::bindings
