// ringmeter._core.History: one Series as a Python object, base of ringmeter.HistoryBuffer.
#pragma once

#include <Python.h>

#include <cstdint>

#include "core/series.h"

namespace ringmeter::bindings {

// A hand-made type, not a pybind11 one: its methods are plain C method descriptors, which cost 20 ns a
// call where pybind11's cost 150, and which torch.compile can be told about.
struct History {
  PyObject_HEAD
  PyObject* key;  // the name under which a hub first recorded into it (str), or null
  // The id of a hub's dict of resumed keys in which `key` was seen to be True, or 0. After changes to that
  // dict by hand it may be out of date, which only costs the error for a change of `resumed`.
  std::uint64_t resumed_in;
  bool is_captured;  // replays of a CUDA graph record into it
  Series series;
};

// Makes the type. New reference, or null with an error set.
PyObject* make_history_type();

// Adds a class of histories that hubs may make: ringmeter.HistoryBuffer, and one for each backend that has
// its own. It must derive from History, leave its methods as they are, and keep no state of its own, because
// hubs make instances without __init__.
PyObject* add_history_class(PyObject* module, PyObject* history_class);

// Whether `object` is exactly of such a class, so that its update() is known to be ours.
bool is_plain_history(PyObject* object);

// A new, empty history of such a class, with the dtypes that a history starting with these has. New
// reference, or null with an error set.
PyObject* new_history(PyObject* history_class, PyObject* key, NumberKind kind, NumberKind count_kind);

// mean(window_size) and current() of a plain history, as of a position unless that is null. New references,
// or null with an error set.
PyObject* mean_of(PyObject* history, std::uint64_t window_size, const Position* at);
PyObject* current_of(PyObject* history, const Position* at);

// count(window_size) likewise, as a number. False with an error set.
bool weigh(PyObject* history, std::uint64_t window_size, const Position* at, double* out);

// A window_size argument as a number of entries: an int, 'global', None, or null for all. False with an
// error set.
bool read_window_size(PyObject* key, PyObject* given, std::uint64_t* out);

}  // namespace ringmeter::bindings
