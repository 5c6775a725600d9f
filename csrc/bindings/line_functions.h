// What LogProcessor does for every key of a line: collect_scalars, format_header, format_iteration,
// format_scalars; and for a record: format_record.
#pragma once

#include <Python.h>

namespace ringmeter::bindings {

// Null-terminated.
extern PyMethodDef line_functions[];

}  // namespace ringmeter::bindings
