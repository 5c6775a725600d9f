// ringmeter._core: a table of what it holds. Each entry has a file of its own.
#include <pybind11/pybind11.h>

#include "bindings/captures.h"
#include "bindings/device_functions.h"
#include "bindings/history_type.h"
#include "bindings/hub_type.h"
#include "bindings/json_functions.h"
#include "bindings/line_functions.h"
#include "bindings/rank_table_type.h"
#include "bindings/scalar.h"
#include "bindings/stopwatch_type.h"

namespace py = pybind11;
namespace rb = ringmeter::bindings;

namespace {

py::object steal_or_throw(PyObject* object) {
  if (object == nullptr) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(object);
}

PyMethodDef add_history_class = {"add_history_class", rb::add_history_class, METH_O,
                                 "add_history_class(cls, /)\n--\n\n"};
PyMethodDef set_hub_class = {"set_hub_class", rb::set_hub_class, METH_O, "set_hub_class(cls, /)\n--\n\n"};
PyMethodDef set_tracer = {"set_tracer", rb::set_tracer, METH_O, "set_tracer(function, /)\n--\n\n"};

}  // namespace

PYBIND11_MODULE(_core, m) {
  if (!rb::find_numpy_types()) throw py::error_already_set();
  m.attr("History") = steal_or_throw(rb::make_history_type());
  m.attr("Hub") = steal_or_throw(rb::make_hub_type());
  rb::add_rank_table(m);
  m.attr("ReplayMark") = steal_or_throw(rb::make_replay_mark_type());
  m.attr("Stopwatch") = steal_or_throw(rb::make_stopwatch_type());
  m.attr("add_history_class") = steal_or_throw(PyCFunction_New(&add_history_class, nullptr));
  m.attr("set_hub_class") = steal_or_throw(PyCFunction_New(&set_hub_class, nullptr));
  m.attr("set_tracer") = steal_or_throw(PyCFunction_New(&set_tracer, nullptr));
  if (PyModule_AddFunctions(m.ptr(), rb::line_functions) != 0 ||
      PyModule_AddFunctions(m.ptr(), rb::json_functions) != 0 ||
      PyModule_AddFunctions(m.ptr(), rb::device_functions) != 0 ||
      PyModule_AddFunctions(m.ptr(), rb::capture_functions) != 0)
    throw py::error_already_set();
}
