// What Python asks about devices, and about what is on its way from them.
#pragma once

#include <Python.h>

namespace ringmeter::bindings {

// Of the module, null-terminated.
extern PyMethodDef device_functions[];

}  // namespace ringmeter::bindings
