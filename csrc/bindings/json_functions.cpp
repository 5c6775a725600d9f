#include "bindings/json_functions.h"

#include <pybind11/pybind11.h>

#include <cstddef>
#include <new>
#include <string>
#include <string_view>
#include <utility>
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

py::object checked(const py::handle object, const bool is_it, const char* expected) {
  if (!is_it) throw py::type_error(expected);
  return py::reinterpret_borrow<py::object>(object);
}

// A list of (name, whether it is a number).
JsonSchema schema_of(const py::handle given) {
  JsonSchema schema;
  const py::list pairs = checked(given, PyList_Check(given.ptr()) != 0, "a schema must be a list");
  for (const py::handle pair : pairs) {
    const bool is_pair = PyTuple_CheckExact(pair.ptr()) != 0 && PyTuple_GET_SIZE(pair.ptr()) == 2;
    checked(pair, is_pair, "a key must be (name, is_number)");
    const PyObject* is_number = PyTuple_GET_ITEM(pair.ptr(), 1);
    schema.push_back({view_of_bytes(PyTuple_GET_ITEM(pair.ptr(), 0)), is_number == Py_True});
  }
  return schema;
}

py::tuple parse_json_rows(const py::list& lines, const std::size_t start, const py::list& given) {
  std::vector<JsonSchema> schemas;
  for (const py::handle schema : given) schemas.push_back(schema_of(schema));
  if (schemas.size() > 255) throw py::value_error("there must be at most 255 schemas");
  JsonRowParser parser(std::move(schemas));
  std::string which;
  for (std::size_t i = start; i < lines.size(); ++i) {
    const std::size_t schema = parser.parse(view_of_bytes(lines[i]));
    if (schema == JsonRowParser::kNone) break;
    which.push_back(static_cast<char>(schema));
  }
  py::list tables;
  for (std::size_t schema = 0; schema < given.size(); ++schema) {
    const std::vector<double>& numbers = parser.numbers(schema);
    tables.append(py::bytes(reinterpret_cast<const char*>(numbers.data()), numbers.size() * sizeof(double)));
  }
  return py::make_tuple(py::bytes(which), tables);
}

PyObject* parse_json_rows_function(PyObject*, PyObject* const* args, Py_ssize_t nargs) {
  if (nargs != 3 || !PyList_Check(args[0]) || !PyList_Check(args[2])) {
    PyErr_SetString(PyExc_TypeError,
                    "parse_json_rows() takes a list of lines, a number and a list of schemas");
    return nullptr;
  }
  const std::size_t start = PyLong_AsSize_t(args[1]);
  if (start == static_cast<std::size_t>(-1) && PyErr_Occurred()) return nullptr;
  try {
    const auto lines = py::reinterpret_borrow<py::list>(args[0]);
    return parse_json_rows(lines, start, py::reinterpret_borrow<py::list>(args[2])).release().ptr();
  } catch (py::error_already_set& error) {
    error.restore();
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
     "parse_json_rows(lines, start, schemas, /)\n--\n\n"},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace ringmeter::bindings
