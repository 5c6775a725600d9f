#include "bindings/line_functions.h"

#include <pybind11/pybind11.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>

#include "bindings/captures.h"
#include "bindings/history_type.h"
#include "bindings/landing.h"
#include "bindings/methods.h"
#include "core/format.h"

namespace py = pybind11;

namespace ringmeter::bindings {

namespace {

// pybind11's classes hold the references; its functions do not make the calls, which would cost 100 ns
// more each. Checks the number of arguments and turns exceptions into Python's.
template <class Body>
PyObject* guarded(const char* name, Py_ssize_t nargs, Py_ssize_t expected, Body&& body) {
  if (nargs != expected) {
    return PyErr_Format(PyExc_TypeError, "%s() takes %zd arguments (%zd given)", name, expected, nargs);
  }
  try {
    return body().release().ptr();
  } catch (py::error_already_set& error) {
    error.restore();
  } catch (const py::builtin_exception& error) {
    error.set_error();
  } catch (const std::exception& error) {
    PyErr_SetString(PyExc_RuntimeError, error.what());
  }
  return nullptr;
}

py::dict dict_argument(PyObject* argument) {
  if (!PyDict_Check(argument)) throw py::type_error("expected a dict");
  return py::reinterpret_borrow<py::dict>(argument);
}

long long_argument(PyObject* argument) {
  const long value = PyLong_AsLong(argument);
  if (value == -1 && PyErr_Occurred() != nullptr) throw py::error_already_set();
  return value;
}

int digits_argument(PyObject* argument) {
  const long digits = long_argument(argument);
  if (digits < 0 || digits > 1000) throw py::value_error("num_digits must be from 0 to 1000");
  return static_cast<int>(digits);
}

py::object steal(PyObject* object) {
  if (object == nullptr) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(object);
}

// ---- values ----

// The rule of a key: None, or (name in the record, whether it is averaged). `rules` is a dict that makes
// missing ones itself.
py::object rule_of(const py::dict& rules, PyObject* key) {
  PyObject* known = PyDict_GetItemWithError(rules.ptr(), key);
  if (known != nullptr) return py::reinterpret_borrow<py::object>(known);
  if (PyErr_Occurred() != nullptr) throw py::error_already_set();
  return steal(PyObject_GetItem(rules.ptr(), key));
}

// As of when a history is asked: a position of `positions` (None: now). False: it was empty then, or not
// there. Those that are not ours have no positions.
bool find_position(py::handle positions, PyObject* key, PyObject* buffer, bool* has_position, Position* out) {
  *has_position = !positions.is_none();
  if (!*has_position) {
    if (!is_plain_history(buffer)) return true;
    auto* history = reinterpret_cast<History*>(buffer);
    if (history->is_captured && !wait_for_replays(history)) throw py::error_already_set();
    return history->series.position() != 0;
  }
  PyObject* known = PyDict_GetItemWithError(positions.ptr(), key);
  if (known == nullptr) {
    if (PyErr_Occurred() != nullptr) throw py::error_already_set();
    *has_position = false;
    return !is_plain_history(buffer);
  }
  *out = PyLong_AsUnsignedLongLong(known);
  if (PyErr_Occurred() != nullptr) throw py::error_already_set();
  return *out != 0;
}

// Histories that are not plain ones, such as mmengine's own, are asked through their methods, as of now.
py::object value_of(PyObject* buffer, bool is_mean, py::handle window, std::uint64_t window_size,
                    const Position* at) {
  if (is_plain_history(buffer)) {
    return steal(is_mean ? mean_of(buffer, window_size, at) : current_of(buffer, at));
  }
  const py::handle other(buffer);
  if (!is_mean) return other.attr("current")();
  return other.attr("mean")(PyUnicode_Check(window.ptr()) ? py::none() : window);  // 'global' is ours only
}

// What a number of a plain history is of: its key, the statistic, the weight in a mean of several, the number
// of entries, the history and its position. Of a mean, weight and entries are those of the window.
py::tuple source_of(PyObject* key, PyObject* buffer, bool is_mean, std::uint64_t window_size,
                    const Position* at) {
  const Position position = at != nullptr ? *at : reinterpret_cast<History*>(buffer)->series.position();
  double weight = 1.0;
  if (is_mean && !weigh(buffer, window_size, at, &weight)) throw py::error_already_set();
  const std::uint64_t entries = is_mean ? std::min<std::uint64_t>(window_size, position) : 1;
  return py::make_tuple(py::handle(key), is_mean ? "mean" : "current", weight, entries, py::handle(buffer),
                        position);
}

py::dict collect_scalars(const py::dict& log_scalars, const py::dict& rules, py::handle window,
                         py::handle positions, py::handle sources) {
  std::uint64_t window_size = 0;
  if (!read_window_size(nullptr, window.ptr(), &window_size)) throw py::error_already_set();
  for (const py::handle optional : {positions, sources}) {
    if (!optional.is_none() && !PyDict_Check(optional.ptr())) throw py::type_error("expected a dict or None");
  }
  py::dict values;
  // Other Python code may run on the way (foreign buffers, new rules, other threads): hold what is in hand,
  // and begin again with a copy when a key has come.
  const Py_ssize_t size = PyDict_GET_SIZE(log_scalars.ptr());
  Py_ssize_t place = 0;
  PyObject* key = nullptr;
  PyObject* buffer = nullptr;
  while (PyDict_Next(log_scalars.ptr(), &place, &key, &buffer)) {
    const auto held_key = py::reinterpret_borrow<py::object>(key);
    const auto held_buffer = py::reinterpret_borrow<py::object>(buffer);
    const py::object rule = rule_of(rules, key);
    if (rule.is_none()) continue;
    if (!PyTuple_CheckExact(rule.ptr()) || PyTuple_GET_SIZE(rule.ptr()) != 2) {
      throw py::type_error("a rule must be None or (name, is_mean)");
    }
    bool has_position = false;
    Position at = 0;
    if (!find_position(positions, key, buffer, &has_position, &at)) continue;
    const bool is_mean = PyTuple_GET_ITEM(rule.ptr(), 1) == Py_True;
    const Position* as_of = has_position ? &at : nullptr;
    PyObject* name = PyTuple_GET_ITEM(rule.ptr(), 0);
    const py::object value = value_of(buffer, is_mean, window, window_size, as_of);
    if (PyDict_SetItem(values.ptr(), name, value.ptr()) != 0) throw py::error_already_set();
    if (!sources.is_none() && is_plain_history(buffer)) {
      const py::tuple source = source_of(key, buffer, is_mean, window_size, as_of);
      if (PyDict_SetItem(sources.ptr(), name, source.ptr()) != 0) throw py::error_already_set();
    }
    if (PyDict_GET_SIZE(log_scalars.ptr()) != size) {
      return collect_scalars(steal(PyDict_Copy(log_scalars.ptr())), rules, window, positions, sources);
    }
  }
  return values;
}

// ---- text ----

// A str as UTF-8. Lone surrogates, as in the names of files that are not UTF-8, are escaped.
class Text {
 public:
  explicit Text(py::handle text) {
    Py_ssize_t size = 0;
    const char* utf8 = PyUnicode_AsUTF8AndSize(text.ptr(), &size);
    if (utf8 != nullptr) {
      view_ = {utf8, static_cast<std::size_t>(size)};
      return;
    }
    if (PyErr_ExceptionMatches(PyExc_UnicodeEncodeError) == 0) throw py::error_already_set();
    PyErr_Clear();
    escaped_ = steal(PyUnicode_AsEncodedString(text.ptr(), "utf-8", "backslashreplace"));
    view_ = {PyBytes_AS_STRING(escaped_.ptr()), static_cast<std::size_t>(PyBytes_GET_SIZE(escaped_.ptr()))};
  }

  // Valid as long as this and the str are.
  std::string_view view() const { return view_; }

 private:
  py::object escaped_;
  std::string_view view_;
};

bool starts_with(std::string_view text, std::string_view prefix) {
  return text.substr(0, prefix.size()) == prefix;
}

bool is_rate(std::string_view name) { return name.size() >= 2 && name.substr(name.size() - 2) == "lr"; }

// How a value is written: as str() does, or always with digits after the point.
enum class Notation { kAsItIs, kFixed, kScientific };

// As f'{value}', f'{value:.{digits}f}' or f'{value:.{digits}e}', for what is not a float.
void append_other(std::string* out, py::handle value, int digits, Notation notation) {
  std::string format;
  if (notation != Notation::kAsItIs) {
    format = "." + std::to_string(digits) + (notation == Notation::kFixed ? "f" : "e");
  }
  *out += Text(steal(PyObject_Format(value.ptr(), py::str(format).ptr()))).view();
}

// "name: value". Floats (np.float64 is one) have `digits` after the point in any case.
void append_item(std::string* out, std::string_view name, py::handle value, int digits, Notation notation) {
  *out += name;
  *out += ": ";
  if (!PyFloat_Check(value.ptr())) {
    append_other(out, value, digits, notation);
  } else if (notation == Notation::kScientific) {
    append_scientific(out, PyFloat_AS_DOUBLE(value.ptr()), digits);
  } else {
    append_fixed(out, PyFloat_AS_DOUBLE(value.ptr()), digits);
  }
}

py::str format_scalars(const py::dict& scalars, int digits) {
  std::string line;
  for (const auto& [name, value] : scalars) {
    if (!line.empty()) line += "  ";
    append_item(&line, Text(name).view(), value, digits, Notation::kAsItIs);
  }
  return line;
}

// The line of an iteration: the header, the learning rates, the time left and the times (when
// all three are there), the memory, and the other items whose names begin with `shown` (None: none of
// them).
py::str format_iteration(std::string_view header, const py::dict& scalars, int digits, py::handle eta,
                         py::handle memory, py::handle shown) {
  std::string line;
  line.reserve(512);
  line += header;
  bool is_first = true;
  py::handle time;
  py::handle data_time;
  for (const auto& [key, value] : scalars) {
    const Text text(key);
    const std::string_view name = text.view();
    if (name == "time") time = value;
    if (name == "data_time") data_time = value;
    if (!is_rate(name)) continue;
    if (!is_first) line += ' ';
    is_first = false;
    append_item(&line, name, value, digits, Notation::kScientific);
  }
  line += "  ";
  const bool with_times = !eta.is_none() && time && data_time;
  if (with_times) {
    line += "eta: ";
    append_duration(&line, long_argument(steal(PyNumber_Long(eta.ptr())).ptr()));
    line += "  ";
    append_item(&line, "time", time, digits, Notation::kFixed);
    line += "  ";
    append_item(&line, "data_time", data_time, digits, Notation::kFixed);
    line += "  ";
  }
  if (!memory.is_none()) {
    append_item(&line, "memory", memory, digits, Notation::kAsItIs);
    line += "  ";
  }
  if (shown.is_none()) return line;
  const Text shown_text(shown);
  const std::string_view prefix = shown_text.view();
  is_first = true;
  for (const auto& [key, value] : scalars) {
    const Text text(key);
    const std::string_view name = text.view();
    if (is_rate(name) || !starts_with(name, prefix)) continue;
    if (with_times && (name == "time" || name == "data_time")) continue;
    if (!is_first) line += "  ";
    is_first = false;
    append_item(&line, name, value, digits, Notation::kAsItIs);
  }
  return line;
}

// Right-aligned in `width`.
void append_aligned(std::string* out, const std::string& text, std::size_t width) {
  if (text.size() < width) out->append(width - text.size(), ' ');
  *out += text;
}

// "Epoch(train)  [1][ 10/25]  ". The epoch (None: without) is aligned with `max_epochs`, its brackets and a
// space (None: as it is, behind one space), what is done with the total (None: "[10]").
py::str format_header(std::string_view form, std::string_view mode, const py::handle epoch,
                      const py::handle max_epochs, long done, const py::handle total) {
  std::string line;
  line += form;
  line += '(';
  line += mode;
  line += ')';
  if (epoch.is_none()) {
    line += ' ';
  } else {
    const std::string shown = "[" + std::to_string(long_argument(epoch.ptr())) + "]";
    const std::size_t width =
        max_epochs.is_none() ? 0 : std::to_string(long_argument(max_epochs.ptr())).size() + 3;
    append_aligned(&line, shown, width);
  }
  line += '[';
  if (total.is_none()) {
    line += std::to_string(done);
  } else {
    const std::string whole = std::to_string(long_argument(total.ptr()));
    append_aligned(&line, std::to_string(done), whole.size());
    line += '/';
    line += whole;
  }
  line += "]  ";
  return line;
}

// ---- records ----

// Appends a str as JSON has it. False: it needs escapes.
bool append_json_text(std::string* out, PyObject* text) {
  if (!PyUnicode_Check(text) || !PyUnicode_IS_ASCII(text)) return false;
  const Text text_of_value(text);
  const std::string_view plain = text_of_value.view();
  for (const char c : plain) {
    if (c < ' ' || c > '~' || c == '"' || c == '\\') return false;
  }
  *out += '"';
  *out += plain;
  *out += '"';
  return true;
}

// Appends a value as json.dumps() writes it. False: it is for Python's json.
bool append_json_value(std::string* out, PyObject* value) {
  if (PyFloat_Check(value)) {
    const double number = PyFloat_AS_DOUBLE(value);
    if (std::isfinite(number)) {
      append_repr(out, number);
    } else {
      *out += std::isnan(number) ? "NaN" : number > 0 ? "Infinity" : "-Infinity";
    }
    return true;
  }
  if (PyLong_CheckExact(value)) {
    int overflow = 0;
    const long long number = PyLong_AsLongLongAndOverflow(value, &overflow);
    *out += std::to_string(number);
    return overflow == 0;
  }
  if (value == Py_True || value == Py_False || value == Py_None) {
    *out += value == Py_True ? "true" : value == Py_False ? "false" : "null";
    return true;
  }
  return append_json_text(out, value);
}

// What json.dumps() makes of a record; None where it has more than names with plain numbers and texts.
py::object format_record(const py::dict& record) {
  std::string text;
  text.reserve(512);
  for (const auto& [name, value] : record) {
    text += text.empty() ? "{" : ", ";
    if (!append_json_text(&text, name.ptr())) return py::none();
    text += ": ";
    if (!append_json_value(&text, value.ptr())) return py::none();
  }
  if (text.empty()) text += '{';
  text += '}';
  return py::str(text);
}

// ---- as Python functions ----

PyObject* collect_scalars_function(PyObject*, PyObject* const* args, Py_ssize_t nargs) {
  return guarded("collect_scalars", nargs, 5, [&]() -> py::object {
    return collect_scalars(dict_argument(args[0]), dict_argument(args[1]), args[2], args[3], args[4]);
  });
}

PyObject* format_header_function(PyObject*, PyObject* const* args, Py_ssize_t nargs) {
  return guarded("format_header", nargs, 6, [&]() -> py::object {
    return format_header(Text(args[0]).view(), Text(args[1]).view(), args[2], args[3], long_argument(args[4]),
                         args[5]);
  });
}

PyObject* format_iteration_function(PyObject*, PyObject* const* args, Py_ssize_t nargs) {
  return guarded("format_iteration", nargs, 6, [&]() -> py::object {
    return format_iteration(Text(args[0]).view(), dict_argument(args[1]), digits_argument(args[2]), args[3],
                            args[4], args[5]);
  });
}

PyObject* format_record_function(PyObject*, PyObject* const* args, Py_ssize_t nargs) {
  return guarded("format_record", nargs, 1,
                 [&]() -> py::object { return format_record(dict_argument(args[0])); });
}

PyObject* format_scalars_function(PyObject*, PyObject* const* args, Py_ssize_t nargs) {
  return guarded("format_scalars", nargs, 2, [&]() -> py::object {
    return format_scalars(dict_argument(args[0]), digits_argument(args[1]));
  });
}

}  // namespace

PyMethodDef line_functions[] = {
    {"collect_scalars", as_method(collect_scalars_function), METH_FASTCALL,
     "collect_scalars(log_scalars, rules, window, positions, sources, /)\n--\n\n"},
    {"format_header", as_method(format_header_function), METH_FASTCALL,
     "format_header(form, mode, epoch, max_epochs, done, total, /)\n--\n\n"},
    {"format_iteration", as_method(format_iteration_function), METH_FASTCALL,
     "format_iteration(header, scalars, digits, eta, memory, shown, /)\n--\n\n"},
    {"format_record", as_method(format_record_function), METH_FASTCALL, "format_record(record, /)\n--\n\n"},
    {"format_scalars", as_method(format_scalars_function), METH_FASTCALL,
     "format_scalars(scalars, digits, /)\n--\n\n"},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace ringmeter::bindings
