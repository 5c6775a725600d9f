#include "bindings/json_functions.h"

#include <pybind11/pybind11.h>

#include <cstddef>
#include <new>
#include <string_view>
#include <vector>

#include "bindings/methods.h"
#include "core/json_row.h"

namespace py = pybind11;

namespace ringmeter::bindings {

namespace {

std::string_view view_of_bytes(const py::handle object) {
  if (!PyBytes_Check(object.ptr())) throw py::type_error("lines and keys must be bytes");
  return {PyBytes_AS_STRING(object.ptr()), static_cast<std::size_t>(PyBytes_GET_SIZE(object.ptr()))};
}

py::bytes parse_json_rows(const py::list& lines, const std::size_t start, const py::list& key_list) {
  std::vector<std::string_view> keys;
  for (const py::handle key : key_list) keys.push_back(view_of_bytes(key));
  std::vector<double> numbers;
  std::vector<double> row(keys.size());
  for (std::size_t i = start; i < lines.size(); ++i) {
    if (!parse_json_row(view_of_bytes(lines[i]), keys, row.data())) break;
    numbers.insert(numbers.end(), row.begin(), row.end());
  }
  return py::bytes(reinterpret_cast<const char*>(numbers.data()), numbers.size() * sizeof(double));
}

PyObject* parse_json_rows_function(PyObject*, PyObject* const* args, Py_ssize_t nargs) {
  if (nargs != 3 || !PyList_Check(args[0]) || !PyList_Check(args[2])) {
    PyErr_SetString(PyExc_TypeError, "parse_json_rows() takes a list of lines, a number and a list of keys");
    return nullptr;
  }
  const std::size_t start = PyLong_AsSize_t(args[1]);
  if (start == static_cast<std::size_t>(-1) && PyErr_Occurred()) return nullptr;
  try {
    const auto lines = py::reinterpret_borrow<py::list>(args[0]);
    return parse_json_rows(lines, start, py::reinterpret_borrow<py::list>(args[2])).release().ptr();
  } catch (const py::builtin_exception& error) {
    error.set_error();
  } catch (const std::bad_alloc&) {
    PyErr_NoMemory();
  }
  return nullptr;
}

}  // namespace

PyMethodDef json_functions[] = {
    {"parse_json_rows", as_method(parse_json_rows_function), METH_FASTCALL,
     "parse_json_rows(lines, start, keys, /)\n--\n\n"},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace ringmeter::bindings
