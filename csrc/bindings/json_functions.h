// What reads files of JSON lines: parse_json_rows.
#pragma once

#include <Python.h>

namespace ringmeter::bindings {

// Null-terminated.
extern PyMethodDef json_functions[];

}  // namespace ringmeter::bindings
