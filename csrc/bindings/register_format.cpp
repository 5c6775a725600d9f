// ringmeter._core.format_scalars: the values of a log line as text.
#include "bindings/register_format.h"

#include <string>

#include "core/format.h"

namespace py = pybind11;

namespace ringmeter::bindings {

namespace {

void append_text(std::string* out, py::handle text) {
  Py_ssize_t size = 0;
  const char* utf8 = PyUnicode_AsUTF8AndSize(text.ptr(), &size);
  if (utf8 == nullptr) throw py::error_already_set();
  out->append(utf8, static_cast<std::size_t>(size));
}

void append_formatted(std::string* out, py::handle value, const std::string& spec) {
  const py::str format(spec);
  const auto text = py::reinterpret_steal<py::object>(PyObject_Format(value.ptr(), format.ptr()));
  if (!text) throw py::error_already_set();
  append_text(out, text);
}

// "name: value" for each, `separator` between them. Floats (np.float64 too) with `digits` after the point,
// in scientific notation if asked; then every other value is formatted so as well, else as str() does.
py::str format_scalars(const py::dict& scalars, int digits, bool scientific, const std::string& separator) {
  std::string line;
  for (const auto& [name, value] : scalars) {
    if (!line.empty()) line += separator;
    append_text(&line, py::str(name));
    line += ": ";
    if (PyFloat_Check(value.ptr())) {
      const double number = PyFloat_AS_DOUBLE(value.ptr());
      if (scientific) {
        append_scientific(&line, number, digits);
      } else {
        append_fixed(&line, number, digits);
      }
    } else {
      append_formatted(&line, value, scientific ? "." + std::to_string(digits) + "e" : std::string());
    }
  }
  return line;
}

}  // namespace

void register_format(py::module_& m) {
  m.def("format_scalars", &format_scalars, py::arg("scalars"), py::arg("digits"),
        py::arg("scientific") = false, py::arg("separator") = "  ");
}

}  // namespace ringmeter::bindings
