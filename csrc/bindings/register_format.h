#pragma once

#include <pybind11/pybind11.h>

namespace ringmeter::bindings {

void register_format(pybind11::module_& m);

}  // namespace ringmeter::bindings
