// ringmeter._core.Hub: the scalars of a message hub, base of ringmeter.MessageHub.
#pragma once

#include <Python.h>

namespace ringmeter::bindings {

// Makes the type. New reference, or null with an error set.
PyObject* make_hub_type();

// Makes the methods of Hub methods of ringmeter.MessageHub itself (own_methods() in methods.h).
PyObject* set_hub_class(PyObject* module, PyObject* hub_class);

}  // namespace ringmeter::bindings
