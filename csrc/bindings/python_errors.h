// Raises the classes of ringmeter._errors from C++.
#pragma once

#include <Python.h>

namespace ringmeter::bindings {

// Sets ringmeter._errors.<name> with a message as PyErr_Format makes it. Always returns null, for
// `return raise(...)`.
PyObject* raise(const char* name, const char* format, ...);

// The same with the series named in front, "series 'train/loss': ...", when `key` is not null.
PyObject* raise_for(PyObject* key, const char* name, const char* format, ...);

}  // namespace ringmeter::bindings
