// What LogProcessor does for every key of a line: collect_scalars, format_header, format_iteration,
// format_scalars.
#pragma once

#include <Python.h>

namespace ringmeter::bindings {

// Null-terminated.
extern PyMethodDef line_functions[];

}  // namespace ringmeter::bindings
