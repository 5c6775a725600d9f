// RankTable: what all ranks sent for one log line, as a Python class.
#pragma once

#include <pybind11/pybind11.h>

namespace ringmeter::bindings {

void add_rank_table(pybind11::module_& module);

}  // namespace ringmeter::bindings
