#include "bindings/history_type.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <new>
#include <vector>

#include "bindings/captures.h"
#include "bindings/landing.h"
#include "bindings/methods.h"
#include "bindings/python_errors.h"
#include "bindings/scalar.h"

namespace ringmeter::bindings {

namespace {

constexpr std::uint64_t kDefaultMaxLength = 1'000'000;
constexpr std::uint64_t kAll = UINT64_MAX;

// About 10 us of work: from here on other Python threads may run meanwhile.
constexpr std::uint64_t kLongRange = 8192;

PyTypeObject* history_base = nullptr;  // _core.History, set once
constexpr std::size_t kMostClasses = 4;
PyTypeObject* history_classes[kMostClasses] = {};  // what add_history_class() got; never freed

History* self_of(PyObject* self) { return reinterpret_cast<History*>(self); }

// ---- life ----

PyObject* history_new(PyTypeObject* type, PyObject*, PyObject*) {
  PyObject* self = type->tp_alloc(type, 0);
  if (self == nullptr) return nullptr;
  self_of(self)->key = nullptr;
  self_of(self)->resumed_in = 0;
  self_of(self)->is_captured = false;
  try {
    new (&self_of(self)->series) Series(kDefaultMaxLength, NumberKind::kFloat, NumberKind::kFloat);
  } catch (const std::bad_alloc&) {
    type->tp_free(self);
    Py_DECREF(type);
    return PyErr_NoMemory();
  }
  return self;
}

void history_dealloc(PyObject* self) {
  PyTypeObject* type = Py_TYPE(self);
  self_of(self)->series.~Series();
  Py_XDECREF(self_of(self)->key);
  type->tp_free(self);
  Py_DECREF(type);
}

bool kind_from(PyObject* object, NumberKind* out) {
  const long value = PyLong_AsLong(object);
  if (PyErr_Occurred() != nullptr) return false;
  if (value < 0 || value > 2) {
    PyErr_Format(PyExc_ValueError, "kind must be 0 (bool), 1 (int) or 2 (float), got %ld", value);
    return false;
  }
  *out = static_cast<NumberKind>(value);
  return true;
}

// _reset(max_length, kind, count_kind, key): forgets everything. For constructors only: no other thread
// may know of the history yet.
PyObject* history_reset(PyObject* self, PyObject* const* args, Py_ssize_t nargs) {
  if (nargs != 4) {
    PyErr_SetString(PyExc_TypeError, "_reset() takes max_length, kind, count_kind, key");
    return nullptr;
  }
  const std::uint64_t max_length = PyLong_AsUnsignedLongLong(args[0]);
  NumberKind kind;
  NumberKind count_kind;
  if (PyErr_Occurred() != nullptr || !kind_from(args[1], &kind) || !kind_from(args[2], &count_kind)) {
    return nullptr;
  }
  History* history = self_of(self);
  const Position head = history->series.position();
  if (history->series.landed() != head && !wait_until_landed(history, head)) return nullptr;
  try {
    // The directory is the only memory that a series takes at once: try it before the old one goes.
    Series(max_length, kind, count_kind);
    history->series.~Series();
    new (&history->series) Series(max_length, kind, count_kind);
  } catch (const std::bad_alloc&) {
    return PyErr_NoMemory();
  }
  Py_XDECREF(history->key);
  history->key = args[3] == Py_None ? nullptr : args[3];
  history->resumed_in = 0;
  Py_XINCREF(history->key);
  Py_RETURN_NONE;
}

// ---- recording ----

PyObject* history_update(PyObject* self, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) {
  static const char* const names[] = {"log_val", "count", nullptr};
  static const Signature signature{"update", names, 2, 1};
  PyObject* given[2] = {};
  if (!sort_arguments(signature, args, nargs, kwnames, given)) return nullptr;
  History* history = self_of(self);
  Value value;
  Number count = Number::integer(std::int64_t{1});
  if (!read_value(given[0], history->key, &value)) return nullptr;
  if (given[1] != nullptr && !read_count(given[1], history->key, false, &count)) return nullptr;
  const Recording recording{history, &value, &count};
  if (value.kind != Value::Kind::kNumber) {
    Value* elsewhere = &value;
    if (!launch(&elsewhere, 1, history->key)) return nullptr;
  }
  if (!(value.kind == Value::Kind::kCapturing ? capture(&recording, 1) : record(recording))) return nullptr;
  Py_RETURN_NONE;
}

// _land(position, value): gives the number that was recorded there as one that comes later.
PyObject* history_land(PyObject* self, PyObject* const* args, Py_ssize_t nargs) {
  if (nargs != 2) {
    PyErr_SetString(PyExc_TypeError, "_land() takes position, value");
    return nullptr;
  }
  const unsigned long long position = PyLong_AsUnsignedLongLong(args[0]);
  Number value;
  if (PyErr_Occurred() != nullptr || !read_number(args[1], self_of(self)->key, &value)) return nullptr;
  self_of(self)->series.land(position, value);
  Py_RETURN_NONE;
}

// Doubles of a contiguous buffer.
class Doubles {
 public:
  Doubles(PyObject* object, int flags) {
    held_ = PyObject_GetBuffer(object, &view_, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT | flags) == 0;
    if (held_ && (view_.format == nullptr || view_.format[0] != 'd' || view_.format[1] != '\0')) {
      PyErr_SetString(PyExc_TypeError, "expected a contiguous array of float64");
      PyBuffer_Release(&view_);
      held_ = false;
    }
  }
  ~Doubles() {
    if (held_) PyBuffer_Release(&view_);
  }
  Doubles(const Doubles&) = delete;
  Doubles& operator=(const Doubles&) = delete;

  bool ok() const { return held_; }
  double* data() const { return static_cast<double*>(view_.buf); }
  std::uint64_t size() const { return static_cast<std::uint64_t>(view_.len) / sizeof(double); }

 private:
  Py_buffer view_ = {};
  bool held_ = false;
};

// _extend(values, lows, counts): appends arrays of equal length, of the kinds that the history has.
PyObject* history_extend(PyObject* self, PyObject* const* args, Py_ssize_t nargs) {
  if (nargs != 3) {
    PyErr_SetString(PyExc_TypeError, "_extend() takes values, lows, counts");
    return nullptr;
  }
  const Doubles values(args[0], 0);
  if (!values.ok()) return nullptr;
  const Doubles lows(args[1], 0);
  if (!lows.ok()) return nullptr;
  const Doubles counts(args[2], 0);
  if (!counts.ok()) return nullptr;
  if (lows.size() != values.size() || counts.size() != values.size()) {
    PyErr_SetString(PyExc_ValueError, "_extend() arrays must be of equal length");
    return nullptr;
  }
  Series& series = self_of(self)->series;
  const NumberKind kind = series.kind();
  const NumberKind count_kind = series.count_kind();
  try {
    for (std::uint64_t i = 0; i < values.size(); ++i) {
      series.push({values.data()[i], lows.data()[i], kind}, {counts.data()[i], 0.0, count_kind});
    }
  } catch (const std::bad_alloc&) {
    return PyErr_NoMemory();
  }
  Py_RETURN_NONE;
}

// ---- windows ----

// What part of the history a statistic is asked about.
struct Window {
  std::uint64_t size = kAll;
  bool has_at = false;
  bool landed_only = false;  // as of the newest position before which everything has landed
  Position at = 0;
};

Position end_of(const History* history, const Window& window) {
  if (window.has_at) return window.at;
  return window.landed_only ? history->series.landed() : history->series.position();
}

bool read_at(History* history, PyObject* given, PyObject* landed, Window* out) {
  const int landed_only = landed == nullptr ? 0 : PyObject_IsTrue(landed);
  if (landed_only < 0) return false;
  out->landed_only = landed_only != 0;
  if (out->landed_only) land_arrived();
  if (given == nullptr || given == Py_None) {
    return out->landed_only || !history->is_captured || wait_for_replays(history);
  }
  if (out->landed_only) {
    raise_for(history->key, "ArgumentError", "landed must be False where at is given, got True");
    return false;
  }
  const Position head = history->series.position();
  PyObject* index = PyNumber_Index(given);
  const unsigned long long at = index == nullptr ? head + 1 : PyLong_AsUnsignedLongLong(index);
  Py_XDECREF(index);
  if (PyErr_Occurred() != nullptr || at > head) {
    PyErr_Clear();
    raise_for(history->key, "ArgumentError", "at must be a position from 0 to %llu, got %R",
              static_cast<unsigned long long>(head), given);
    return false;
  }
  out->has_at = true;
  out->at = at;
  return true;
}

// Runs `ask(range)` until it has an answer, without the GIL when that takes long. False with an error
// set. `cost` is about how many entries it will look at.
template <class Ask, class Cost>
bool answer(History* history, const Window& window, Cost&& cost, Ask&& ask) {
  Series& series = history->series;
  for (Position end = end_of(history, window);;) {
    const Range range = series.window(window.size, end);
    Read read = Read::kOk;
    bool no_memory = false;
    const auto guarded = [&] {
      try {
        read = ask(range);
      } catch (const std::bad_alloc&) {
        no_memory = true;
      }
    };
    if (cost(range) > kLongRange) {
      Py_BEGIN_ALLOW_THREADS
      guarded();
      Py_END_ALLOW_THREADS
    } else {
      guarded();
    }
    if (no_memory) {
      PyErr_NoMemory();
      return false;
    }
    if (read == Read::kOk) return true;
    if (read == Read::kPending) {
      if (!wait_until_landed(history, end)) return false;
      continue;
    }
    if (window.has_at) {
      raise_for(history->key, "ArgumentError",
                "at must be a position whose window is still in the ring, got %llu (position now: %llu)",
                static_cast<unsigned long long>(window.at),
                static_cast<unsigned long long>(series.position()));
      return false;
    }
    end = end_of(history, window);
  }
}

bool is_empty(History* history, const Window& window, const char* statistic) {
  if (end_of(history, window) != 0) return false;
  if (history->series.position() != 0 && window.landed_only) {
    raise_for(history->key, "PendingError", "%s needs at least one value that has landed, none has",
              statistic);
    return true;
  }
  raise_for(history->key, "ArgumentError", "%s needs at least one recorded value, the history is empty",
            statistic);
  return true;
}

// How many entries a statistic over `range` looks at one by one: all, or those not yet summarised.
struct EveryEntry {
  std::uint64_t operator()(Range range) const { return range.size(); }
};
struct UnsummarisedEntries {
  const Series& series;
  std::uint64_t operator()(Range range) const { return series.unsummarised(range); }
};

// window_size and at, as most statistics take them.
bool read_window(History* history, const char* method, PyObject* const* args, Py_ssize_t nargs,
                 PyObject* kwnames, Window* out) {
  static const char* const names[] = {"window_size", "at", "landed", nullptr};
  PyObject* given[3] = {};
  return sort_arguments({method, names, 1, 0}, args, nargs, kwnames, given) &&
         read_window_size(history->key, given[0], &out->size) && read_at(history, given[1], given[2], out);
}

// ---- statistics ----

// A short cut for the most asked question. Null without an error when it takes the long way.
PyObject* newest(History* history) {
  if (history->is_captured && !wait_for_replays(history)) return nullptr;
  land_arrived();
  const Position head = history->series.position();
  Number number;
  const bool answered = head != 0 && history->series.at(head - 1, &number) == Read::kOk;
  return answered ? to_numpy(number) : nullptr;
}

PyObject* current(History* history, Window* window) {
  if (is_empty(history, *window, "current")) return nullptr;
  window->size = 1;
  Number result;
  const bool answered = answer(history, *window, EveryEntry{},
                               [&](Range range) { return history->series.at(range.begin, &result); });
  return answered ? to_numpy(result) : nullptr;
}

PyObject* history_current(PyObject* self, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) {
  static const char* const names[] = {"at", "landed", nullptr};
  static const Signature signature{"current", names, 0, 0};
  History* history = self_of(self);
  if (nargs == 0 && kwnames == nullptr) {
    PyObject* number = newest(history);
    if (number != nullptr || PyErr_Occurred() != nullptr) return number;
  }
  PyObject* given[2] = {};
  Window window;
  if (!sort_arguments(signature, args, nargs, kwnames, given) ||
      !read_at(history, given[0], given[1], &window) || is_empty(history, window, "current")) {
    return nullptr;
  }
  window.size = 1;
  Number result;
  const bool answered = answer(history, window, EveryEntry{},
                               [&](Range range) { return history->series.at(range.begin, &result); });
  return answered ? to_numpy(result) : nullptr;
}

// A statistic with a result of the history's dtype.
template <Read (Series::*kStatistic)(Range, Number*) const>
PyObject* number_statistic(PyObject* self, const char* name, PyObject* const* args, Py_ssize_t nargs,
                           PyObject* kwnames) {
  History* history = self_of(self);
  Window window;
  if (!read_window(history, name, args, nargs, kwnames, &window) || is_empty(history, window, name)) {
    return nullptr;
  }
  Number result;
  const bool answered = answer(history, window, UnsummarisedEntries{history->series},
                               [&](Range range) { return (history->series.*kStatistic)(range, &result); });
  return answered ? to_numpy(result) : nullptr;
}

// A statistic with a float for a result.
template <Read (Series::*kStatistic)(Range, double*) const, class Cost>
PyObject* float_statistic(PyObject* self, const char* name, Cost cost, PyObject* const* args,
                          Py_ssize_t nargs, PyObject* kwnames) {
  History* history = self_of(self);
  Window window;
  if (!read_window(history, name, args, nargs, kwnames, &window) || is_empty(history, window, name)) {
    return nullptr;
  }
  double result = 0.0;
  const bool answered = answer(history, window, cost,
                               [&](Range range) { return (history->series.*kStatistic)(range, &result); });
  return answered ? to_numpy(result) : nullptr;
}

PyObject* history_max(PyObject* self, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) {
  return number_statistic<&Series::maximum>(self, "max", args, nargs, kwnames);
}

PyObject* history_min(PyObject* self, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) {
  return number_statistic<&Series::minimum>(self, "min", args, nargs, kwnames);
}

PyObject* history_std(PyObject* self, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) {
  return float_statistic<&Series::std>(self, "std", UnsummarisedEntries{self_of(self)->series}, args, nargs,
                                       kwnames);
}

PyObject* history_median(PyObject* self, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) {
  return float_statistic<&Series::median>(self, "median", EveryEntry{}, args, nargs, kwnames);
}

// Empty histories have a mean, a sum and a count too: 0 / 0, and sums of nothing.
PyObject* mean(History* history, const Window& window) {
  double result = 0.0;
  const bool answered = answer(history, window, UnsummarisedEntries{history->series}, [&](Range range) {
    if (range.size() != 0) return history->series.mean(range, &result);
    result = std::nan("");
    return Read::kOk;
  });
  return answered ? to_numpy(result) : nullptr;
}

PyObject* history_mean(PyObject* self, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) {
  Window window;
  if (!read_window(self_of(self), "mean", args, nargs, kwnames, &window)) return nullptr;
  return mean(self_of(self), window);
}

PyObject* history_sum(PyObject* self, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) {
  History* history = self_of(self);
  Window window;
  if (!read_window(history, "sum", args, nargs, kwnames, &window)) return nullptr;
  Number result{0.0, 0.0, history->series.kind()};
  const bool answered = answer(history, window, UnsummarisedEntries{history->series}, [&](Range range) {
    return range.size() == 0 ? Read::kOk : history->series.sum(range, &result);
  });
  return answered ? to_numpy(result) : nullptr;
}

bool count(History* history, const Window& window, double* out) {
  return answer(history, window, UnsummarisedEntries{history->series}, [&](Range range) {
    return range.size() == 0 ? Read::kOk : history->series.count(range, out);
  });
}

PyObject* history_count(PyObject* self, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) {
  History* history = self_of(self);
  Window window;
  if (!read_window(history, "count", args, nargs, kwnames, &window)) return nullptr;
  Number result{0.0, 0.0, NumberKind::kInt};
  const bool answered = count(history, window, &result.high);
  if (history->series.count_kind() == NumberKind::kFloat) result.kind = NumberKind::kFloat;
  return answered ? to_numpy(result) : nullptr;
}

PyObject* history_nan_count(PyObject* self, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) {
  History* history = self_of(self);
  Window window;
  if (!read_window(history, "nan_count", args, nargs, kwnames, &window)) return nullptr;
  std::uint64_t result = 0;
  const bool answered = answer(history, window, EveryEntry{}, [&](Range range) {
    return range.size() == 0 ? Read::kOk : history->series.nan_count(range, &result);
  });
  return answered ? PyLong_FromUnsignedLongLong(result) : nullptr;
}

// A fraction argument: a float in [0, 1], or [0, 1) when `below_one`.
bool read_fraction(History* history, const char* name, PyObject* given, bool below_one, double* out) {
  *out = PyFloat_AsDouble(given);
  if (PyErr_Occurred() != nullptr) {
    PyErr_Clear();
    raise_for(history->key, "ArgumentTypeError", "%s must be a float, got %R", name, given);
    return false;
  }
  if (*out >= 0.0 && (below_one ? *out < 1.0 : *out <= 1.0)) return true;
  raise_for(history->key, "ArgumentError", "%s must be in [0, 1%s, got %R", name, below_one ? ")" : "]",
            given);
  return false;
}

PyObject* history_quantile(PyObject* self, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) {
  static const char* const names[] = {"q", "window_size", "at", "landed", nullptr};
  static const Signature signature{"quantile", names, 2, 1};
  History* history = self_of(self);
  PyObject* given[4] = {};
  Window window;
  double q = 0.0;
  if (!sort_arguments(signature, args, nargs, kwnames, given) ||
      !read_fraction(history, "q", given[0], false, &q) ||
      !read_window_size(history->key, given[1], &window.size) ||
      !read_at(history, given[2], given[3], &window) || is_empty(history, window, "quantile")) {
    return nullptr;
  }
  double result = 0.0;
  const bool answered = answer(history, window, EveryEntry{},
                               [&](Range range) { return history->series.quantile(range, q, &result); });
  return answered ? to_numpy(result) : nullptr;
}

PyObject* history_ema(PyObject* self, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) {
  static const char* const names[] = {"window_size", "smoothing", "at", "landed", nullptr};
  static const Signature signature{"ema", names, 2, 0};
  History* history = self_of(self);
  PyObject* given[4] = {};
  Window window;
  double smoothing = 0.9;
  if (!sort_arguments(signature, args, nargs, kwnames, given) ||
      !read_window_size(history->key, given[0], &window.size) ||
      (given[1] != nullptr && !read_fraction(history, "smoothing", given[1], true, &smoothing)) ||
      !read_at(history, given[2], given[3], &window) || is_empty(history, window, "ema")) {
    return nullptr;
  }
  double result = 0.0;
  const bool answered = answer(history, window, EveryEntry{},
                               [&](Range range) { return history->series.ema(range, smoothing, &result); });
  return answered ? to_numpy(result) : nullptr;
}

// ---- the entries themselves ----

// _copy(at, values, lows, counts): fills float64 arrays with the newest entries as of position `at` (None:
// now), as many as the arrays are long.
PyObject* history_copy(PyObject* self, PyObject* const* args, Py_ssize_t nargs) {
  if (nargs != 4) {
    PyErr_SetString(PyExc_TypeError, "_copy() takes at, values, lows, counts");
    return nullptr;
  }
  History* history = self_of(self);
  Window window;
  if (!read_at(history, args[0], nullptr, &window)) return nullptr;
  const Doubles values(args[1], PyBUF_WRITABLE);
  if (!values.ok()) return nullptr;
  const Doubles lows(args[2], PyBUF_WRITABLE);
  if (!lows.ok()) return nullptr;
  const Doubles counts(args[3], PyBUF_WRITABLE);
  if (!counts.ok()) return nullptr;
  window.size = values.size();
  const Position at = window.has_at ? window.at : history->series.position();
  if (lows.size() != window.size || counts.size() != window.size ||
      history->series.window(window.size, at).size() != window.size) {
    PyErr_SetString(PyExc_ValueError, "_copy() needs arrays of one length, no more than there are entries");
    return nullptr;
  }
  if (window.size == 0) Py_RETURN_NONE;
  const bool answered = answer(history, window, EveryEntry{}, [&](Range range) {
    return history->series.copy(range, values.data(), lows.data(), counts.data());
  });
  if (!answered) return nullptr;
  Py_RETURN_NONE;
}

Py_ssize_t history_length(PyObject* self) {
  land_replays();
  const Series& series = self_of(self)->series;
  return static_cast<Py_ssize_t>(series.window(kAll, series.position()).size());
}

int history_bool(PyObject*) { return 1; }  // not len() != 0: `if hub.get(...)` means existence

PyObject* history_key(PyObject* self, void*) {
  PyObject* key = self_of(self)->key;
  if (key == nullptr) Py_RETURN_NONE;
  Py_INCREF(key);
  return key;
}

PyObject* history_landed(PyObject* self, void*) {
  land_arrived();
  return PyLong_FromUnsignedLongLong(self_of(self)->series.landed());
}

PyObject* history_position(PyObject* self, void*) {
  land_replays();
  return PyLong_FromUnsignedLongLong(self_of(self)->series.position());
}

PyObject* history_max_length(PyObject* self, void*) {
  return PyLong_FromUnsignedLongLong(self_of(self)->series.max_length());
}

PyObject* history_kinds(PyObject* self, void*) {
  const Series& series = self_of(self)->series;
  return Py_BuildValue("(ii)", static_cast<int>(series.kind()), static_cast<int>(series.count_kind()));
}

constexpr int kFast = METH_FASTCALL | METH_KEYWORDS;

PyMethodDef methods[] = {
    {"update", as_method(history_update), kFast, "update($self, /, log_val, count=1)\n--\n\n"},
    {"current", as_method(history_current), kFast, "current($self, /, *, at=None, landed=False)\n--\n\n"},
    {"mean", as_method(history_mean), kFast,
     "mean($self, /, window_size=None, *, at=None, landed=False)\n--\n\n"},
    {"max", as_method(history_max), kFast,
     "max($self, /, window_size=None, *, at=None, landed=False)\n--\n\n"},
    {"min", as_method(history_min), kFast,
     "min($self, /, window_size=None, *, at=None, landed=False)\n--\n\n"},
    {"sum", as_method(history_sum), kFast,
     "sum($self, /, window_size=None, *, at=None, landed=False)\n--\n\n"},
    {"count", as_method(history_count), kFast,
     "count($self, /, window_size=None, *, at=None, landed=False)\n--\n\n"},
    {"nan_count", as_method(history_nan_count), kFast,
     "nan_count($self, /, window_size=None, *, at=None, landed=False)\n--\n\n"},
    {"std", as_method(history_std), kFast,
     "std($self, /, window_size=None, *, at=None, landed=False)\n--\n\n"},
    {"median", as_method(history_median), kFast,
     "median($self, /, window_size=None, *, at=None, landed=False)\n--\n\n"},
    {"quantile", as_method(history_quantile), kFast,
     "quantile($self, /, q, window_size=None, *, at=None, landed=False)\n--\n\n"},
    {"ema", as_method(history_ema), kFast,
     "ema($self, /, window_size=None, smoothing=0.9, *, at=None, landed=False)\n--\n\n"},
    {"_reset", as_method(history_reset), METH_FASTCALL,
     "_reset($self, max_length, kind, count_kind, key, /)\n--\n\n"},
    {"_extend", as_method(history_extend), METH_FASTCALL, "_extend($self, values, lows, counts, /)\n--\n\n"},
    {"_land", as_method(history_land), METH_FASTCALL, "_land($self, position, value, /)\n--\n\n"},
    {"_copy", as_method(history_copy), METH_FASTCALL, "_copy($self, at, values, lows, counts, /)\n--\n\n"},
    {nullptr, nullptr, 0, nullptr},
};

PyGetSetDef properties[] = {
    {"key", history_key, nullptr, "Name of the series in the hub that first recorded into it, or None.",
     nullptr},
    {"position", history_position, nullptr, "Number of values ever recorded.", nullptr},
    {"landed", history_landed, nullptr, "How many of them have landed: those before the first that has not.",
     nullptr},
    {"max_length", history_max_length, nullptr, "How many of the newest values are kept.", nullptr},
    {"_kinds", history_kinds, nullptr, nullptr, nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};

PyType_Slot slots[] = {
    {Py_tp_doc, const_cast<char*>("A named history in the ring; base of ringmeter.HistoryBuffer.")},
    {Py_tp_new, reinterpret_cast<void*>(history_new)},
    {Py_tp_dealloc, reinterpret_cast<void*>(history_dealloc)},
    {Py_tp_methods, methods},
    {Py_tp_getset, properties},
    {Py_sq_length, reinterpret_cast<void*>(history_length)},
    {Py_nb_bool, reinterpret_cast<void*>(history_bool)},
    {0, nullptr},
};

bool is_history_class(PyTypeObject* cls) {
  for (PyTypeObject* each : history_classes) {
    if (each == cls) return true;
    if (each == nullptr) return false;
  }
  return false;
}

PyType_Spec spec = {
    "ringmeter._core.History",
    static_cast<int>(sizeof(History)),
    0,
    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    slots,
};

}  // namespace

PyObject* make_history_type() {
  PyObject* type = PyType_FromSpec(&spec);
  history_base = reinterpret_cast<PyTypeObject*>(type);
  return type;
}

PyObject* add_history_class(PyObject*, PyObject* cls) {
  if (!PyType_Check(cls) || !PyType_IsSubtype(reinterpret_cast<PyTypeObject*>(cls), history_base)) {
    return PyErr_Format(PyExc_TypeError, "expected a subclass of History, got %R", cls);
  }
  PyTypeObject** free = std::find(history_classes, history_classes + kMostClasses, nullptr);
  if (free == history_classes + kMostClasses) {
    PyErr_Format(PyExc_RuntimeError, "at most %zu classes of histories can be added", kMostClasses);
    return nullptr;
  }
  if (!own_methods(reinterpret_cast<PyTypeObject*>(cls), methods)) return nullptr;
  Py_INCREF(cls);
  *free = reinterpret_cast<PyTypeObject*>(cls);
  Py_RETURN_NONE;
}

bool read_window_size(PyObject* key, PyObject* given, std::uint64_t* out) {
  *out = kAll;
  if (given == nullptr || given == Py_None) return true;
  if (PyUnicode_Check(given)) {
    if (PyUnicode_CompareWithASCIIString(given, "global") == 0) return true;
    raise_for(key, "ArgumentError",
              "window_size must be an int, 'global' or None, got %R ('epoch' and 'interval' are for "
              "LogProcessor's custom_cfg)",
              given);
    return false;
  }
  if (!PyIndex_Check(given)) {
    raise_for(key, "ArgumentTypeError", "window_size must be an int, 'global' or None, got %R", given);
    return false;
  }
  const Py_ssize_t size = PyNumber_AsSsize_t(given, nullptr);  // clipped
  if (size == -1 && PyErr_Occurred() != nullptr) return false;
  if (size < 1) {
    raise_for(key, "ArgumentError", "window_size must be at least 1, got %R", given);
    return false;
  }
  *out = static_cast<std::uint64_t>(size);
  return true;
}

namespace {

Window window_of(std::uint64_t size, const Position* at) {
  Window window;
  window.size = size;
  window.has_at = at != nullptr;
  if (window.has_at) window.at = *at;
  return window;
}

}  // namespace

PyObject* mean_of(PyObject* history, std::uint64_t window_size, const Position* at) {
  const Window window = window_of(window_size, at);
  if (!window.has_at && self_of(history)->is_captured && !wait_for_replays(self_of(history))) return nullptr;
  return mean(self_of(history), window);
}

PyObject* current_of(PyObject* history, const Position* at) {
  if (at == nullptr) return history_current(history, nullptr, 0, nullptr);
  Window window = window_of(1, at);
  return current(self_of(history), &window);
}

bool weigh(PyObject* history, std::uint64_t window_size, const Position* at, double* out) {
  *out = 0.0;
  return count(self_of(history), window_of(window_size, at), out);
}

bool is_plain_history(PyObject* object) { return is_history_class(Py_TYPE(object)); }

PyObject* new_history(PyObject* history_class, PyObject* key, NumberKind kind, NumberKind count_kind) {
  auto* cls = reinterpret_cast<PyTypeObject*>(history_class);
  if (!is_history_class(cls)) {
    return PyErr_Format(PyExc_TypeError, "expected a class of histories, got %R", history_class);
  }
  PyObject* nothing = PyTuple_New(0);
  if (nothing == nullptr) return nullptr;
  PyObject* result = cls->tp_new(cls, nothing, nullptr);
  Py_DECREF(nothing);
  if (result == nullptr) return nullptr;
  History* history = self_of(result);
  history->series.start_with(kind, count_kind);
  Py_INCREF(key);
  history->key = key;
  return result;
}

}  // namespace ringmeter::bindings
