// ringmeter._core.Hub: the scalars of a message hub, base of ringmeter.MessageHub.
#pragma once

#include <Python.h>

namespace ringmeter::bindings {

// Makes the type. New reference, or null with an error set.
PyObject* make_hub_type();

// Makes the methods of Hub methods of ringmeter.MessageHub itself (own_methods() in methods.h).
PyObject* set_hub_class(PyObject* module, PyObject* hub_class);

// Sets what is asked when an update cannot read its values: function(hub, method, arguments) tells whether
// torch is tracing it, and then has put it into the graph.
PyObject* set_tracer(PyObject* module, PyObject* function);

}  // namespace ringmeter::bindings
