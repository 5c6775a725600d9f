#include "bindings/hub_type.h"

#include <structmember.h>

#include <cstddef>
#include <cstdint>
#include <new>
#include <vector>

#include "bindings/captures.h"
#include "bindings/history_type.h"
#include "bindings/landing.h"
#include "bindings/methods.h"
#include "bindings/python_errors.h"
#include "bindings/recomputation.h"
#include "bindings/scalar.h"
#include "bindings/stopwatch_type.h"

namespace ringmeter::bindings {

namespace {

// Real dicts, which Python code may read, change and replace at any time. Of what they hold, one thing is
// remembered: History::resumed_in.
struct Hub {
  PyObject_HEAD
  PyObject* log_scalars;     // dict[str, HistoryBuffer]
  PyObject* runtime_info;    // dict[str, Any]: only kept here, so that reading it costs no Python call
  PyObject* resumed_keys;    // dict[str, bool]
  std::uint64_t resumed_id;  // of that dict; of no other in this process, unlike its address
  char skip_recompute;       // a bool
};

PyTypeObject* hub_base = nullptr;  // _core.Hub, set once

std::uint64_t next_resumed_id = 0;  // under the GIL

Hub* self_of(PyObject* self) { return reinterpret_cast<Hub*>(self); }

PyObject* hub_new(PyTypeObject* type, PyObject*, PyObject*) {
  PyObject* self = type->tp_alloc(type, 0);
  if (self == nullptr) return nullptr;
  self_of(self)->log_scalars = PyDict_New();
  self_of(self)->runtime_info = PyDict_New();
  self_of(self)->resumed_keys = PyDict_New();
  self_of(self)->resumed_id = ++next_resumed_id;
  self_of(self)->skip_recompute = 1;
  look_for_autograd();
  if (self_of(self)->log_scalars == nullptr || self_of(self)->runtime_info == nullptr ||
      self_of(self)->resumed_keys == nullptr) {
    Py_DECREF(self);
    return nullptr;
  }
  return self;
}

int hub_traverse(PyObject* self, visitproc visit, void* arg) {
  Py_VISIT(self_of(self)->log_scalars);
  Py_VISIT(self_of(self)->runtime_info);
  Py_VISIT(self_of(self)->resumed_keys);
  Py_VISIT(Py_TYPE(self));
  return 0;
}

int hub_clear(PyObject* self) {
  Py_CLEAR(self_of(self)->log_scalars);
  Py_CLEAR(self_of(self)->runtime_info);
  Py_CLEAR(self_of(self)->resumed_keys);
  return 0;
}

void hub_dealloc(PyObject* self) {
  PyTypeObject* type = Py_TYPE(self);
  PyObject_GC_UnTrack(self);
  hub_clear(self);
  type->tp_free(self);
  Py_DECREF(type);
}

// One scalar on its way into a hub: everything about it has been checked, nothing has been changed.
struct Update {
  explicit Update(PyObject* name) : key(name) {}
  PyObject* key;
  History* settled = nullptr;  // see settled_history(), or null
  Value value;
  Number count = Number::integer(std::int64_t{1});
  bool is_new = false;  // its history was made for it
};

bool check_key(PyObject* key) {
  if (PyUnicode_Check(key)) return true;
  raise("ArgumentTypeError", "key must be a str, got %R", key);
  return false;
}

// Whether `resumed` is what the key was first used with, if it was used before.
bool check_resumed(Hub* hub, const char* what, PyObject* key, PyObject* resumed) {
  PyObject* before = PyDict_GetItemWithError(hub->resumed_keys, key);
  if (before == resumed) return true;
  if (before == nullptr) return PyErr_Occurred() == nullptr;
  const int was = PyObject_IsTrue(before);
  const int now = PyObject_IsTrue(resumed);
  if (was < 0 || now < 0) return false;
  if (was == now) return true;
  raise("ArgumentError", "%s %R: resumed must stay what it was, %s, got %s", what, key,
        was != 0 ? "True" : "False", now != 0 ? "True" : "False");
  return false;
}

bool is_same(PyObject* key, PyObject* other) { return key == other || PyUnicode_Compare(key, other) == 0; }

// A buffer that the user made or subclassed: its own update() is called, with a number.
bool update_foreign(PyObject* buffer, Update* update) {
  Number number = update->value.number;
  if (update->value.kind == Value::Kind::kCapturing) {
    raise_for(update->key, "ArgumentTypeError",
              "a buffer must be a plain HistoryBuffer to record in a CUDA graph, got %R", buffer);
    return false;
  }
  if (update->value.kind != Value::Kind::kNumber &&
      !read_number(update->value.object, update->key, &number)) {
    return false;
  }
  PyObject* value = to_python(number);
  PyObject* count = to_python(update->count);
  PyObject* done = value == nullptr || count == nullptr
                       ? nullptr
                       : PyObject_CallMethod(buffer, "update", "OO", value, count);
  Py_XDECREF(value);
  Py_XDECREF(count);
  Py_XDECREF(done);
  return done != nullptr;
}

// Takes away the history that was made for an update that has failed. Keeps the error.
void forget(Hub* hub, const Update& update) {
  if (!update.is_new) return;
  PyObject* type = nullptr;
  PyObject* error = nullptr;
  PyObject* traceback = nullptr;
  PyErr_Fetch(&type, &error, &traceback);
  PyObject* buffer = PyDict_GetItemWithError(hub->log_scalars, update.key);
  if (buffer != nullptr && is_plain_history(buffer) &&
      reinterpret_cast<History*>(buffer)->series.position() == 0) {
    PyObject_DelItem(hub->log_scalars, update.key);
    if (PyDict_Contains(hub->resumed_keys, update.key) == 1) PyObject_DelItem(hub->resumed_keys, update.key);
  }
  PyErr_Restore(type, error, traceback);
}

bool push(History* history, Update* update) {
  return record(Recording{history, &update->value, &update->count});
}

// Whether the buffer of a key is one that the user made or subclassed.
bool is_foreign(Hub* hub, PyObject* key) {
  PyObject* buffer = PyDict_GetItemWithError(hub->log_scalars, key);
  if (buffer == nullptr) PyErr_Clear();  // record() will meet it again
  return buffer != nullptr && !is_plain_history(buffer);
}

// The buffer of a key, made if there is none: also when another thread makes one at the same time, which it
// may while this one allocates. New reference, or null with an error set.
PyObject* find_or_make_buffer(Hub* hub, Update* update) {
  PyObject* buffer = PyDict_GetItemWithError(hub->log_scalars, update->key);
  if (buffer != nullptr) {
    Py_INCREF(buffer);
    return buffer;
  }
  if (PyErr_Occurred() != nullptr) return nullptr;
  PyObject* cls = PyObject_GetAttrString(reinterpret_cast<PyObject*>(Py_TYPE(hub)), "_history_class");
  if (cls == nullptr) return nullptr;
  PyObject* fresh = new_history(cls, update->key, update->value.number.kind, update->count.kind);
  Py_DECREF(cls);
  if (fresh == nullptr) return nullptr;
  update->is_new = true;
  if (PyDict_CheckExact(hub->log_scalars)) {
    buffer = PyDict_SetDefault(hub->log_scalars, update->key, fresh);
    Py_XINCREF(buffer);
  } else {  // an OrderedDict keeps an order of its own
    buffer = PyObject_CallMethod(hub->log_scalars, "setdefault", "OO", update->key, fresh);
  }
  Py_DECREF(fresh);
  return buffer;
}

// Keeps what was said of a key when it was new. Calls of equal keys agree: check_resumed().
bool keep_resumed(Hub* hub, PyObject* key, PyObject* resumed) {
  const int known = PyDict_Contains(hub->resumed_keys, key);
  if (known != 0) return known > 0;
  return PyObject_SetItem(hub->resumed_keys, key, resumed) == 0;  // in the order of an OrderedDict
}

// Keeps with a plain history what was said of its key.
void settle(Hub* hub, History* history, PyObject* key, PyObject* resumed) {
  if (resumed != Py_True) return;
  if (history->key == nullptr) {  // one that the user put there
    Py_INCREF(key);
    history->key = key;
  }
  if (is_same(history->key, key)) history->resumed_in = hub->resumed_id;
}

// Records one checked scalar with `push(History*, Update*)`.
template <class Push>
bool record(Hub* hub, Update* update, PyObject* resumed, Push&& push) {
  PyObject* buffer = find_or_make_buffer(hub, update);
  if (buffer == nullptr) return false;
  History* history = is_plain_history(buffer) ? reinterpret_cast<History*>(buffer) : nullptr;
  const bool done = (history != nullptr ? push(history, update) : update_foreign(buffer, update)) &&
                    keep_resumed(hub, update->key, resumed);
  if (done && history != nullptr) settle(hub, history, update->key, resumed);
  Py_DECREF(buffer);
  return done;
}

bool record(Hub* hub, Update* update, PyObject* resumed) {
  return record(hub, update, resumed,
                [](History* history, Update* checked) { return push(history, checked); });
}

// The history of a key for which `resumed=True` was seen to be right before, or null: one look-up in
// place of two. Null with an error set when the look-up raised.
History* settled_history(Hub* hub, PyObject* key) {
  PyObject* buffer = PyDict_GetItemWithError(hub->log_scalars, key);
  if (buffer == nullptr || !is_plain_history(buffer)) return nullptr;
  History* history = reinterpret_cast<History*>(buffer);
  if (history->resumed_in != hub->resumed_id || history->key == nullptr) return nullptr;
  return is_same(history->key, key) ? history : nullptr;
}

PyObject* tracer = nullptr;  // ringmeter._compile.trace, once torch.compile is in use

// Whether an update that could not read its values is being traced, and has become part of the graph: then
// the error is gone.
bool is_traced(PyObject* hub, const char* method, PyObject* const* given, Py_ssize_t n) {
  if (tracer == nullptr || PyErr_ExceptionMatches(PyExc_ValueError) == 0) return false;
  PyObject* type = nullptr;
  PyObject* error = nullptr;
  PyObject* traceback = nullptr;
  PyErr_Fetch(&type, &error, &traceback);
  PyObject* arguments = PyTuple_New(n);
  for (Py_ssize_t i = 0; arguments != nullptr && i < n; ++i) {
    Py_INCREF(given[i]);
    PyTuple_SET_ITEM(arguments, i, given[i]);
  }
  PyObject* answer =
      arguments == nullptr ? nullptr : PyObject_CallFunction(tracer, "OsO", hub, method, arguments);
  Py_XDECREF(arguments);
  const int is_taken = answer == nullptr ? -1 : PyObject_IsTrue(answer);
  Py_XDECREF(answer);
  if (is_taken == 0) {
    PyErr_Restore(type, error, traceback);
    return false;
  }
  Py_XDECREF(type);
  Py_XDECREF(error);
  Py_XDECREF(traceback);
  return is_taken > 0;
}

// What an update returns that is_recomputing() answered with other than no.
PyObject* nothing_or_error(int is_repeated) {
  if (is_repeated < 0) return nullptr;
  Py_RETURN_NONE;
}

PyObject* push_float(History* history, double value) {
  try {
    history->series.push(Number::real(value), Number::integer(std::int64_t{1}));
  } catch (const std::bad_alloc&) {
    return PyErr_NoMemory();
  }
  Py_RETURN_NONE;
}

// One that is no number yet.
__attribute__((noinline)) bool record_elsewhere(Hub* hub, Update* update, PyObject* resumed) {
  PyObject* settled = reinterpret_cast<PyObject*>(update->settled);
  Py_XINCREF(settled);  // other threads run while this one waits for room
  Value* value = &update->value;
  bool done = launch(&value, 1, update->key);
  if (done && value->kind == Value::Kind::kCapturing) {
    done = record(hub, update, resumed, [](History* history, Update* checked) {
      const Recording recording{history, &checked->value, &checked->count};
      return capture(&recording, 1);
    });
    if (!done) forget(hub, *update);
  } else if (done) {
    done = settled != nullptr ? push(update->settled, update) : record(hub, update, resumed);
  }
  Py_XDECREF(settled);
  return done;
}

PyObject* hub_update_scalar(PyObject* self, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) {
  static const char* const names[] = {"key", "value", "count", "resumed", nullptr};
  static const Signature signature{"update_scalar", names, 4, 2};
  Hub* hub = self_of(self);
  const int is_repeated = hub->skip_recompute != 0 ? is_recomputing() : 0;
  if (is_repeated != 0) return nothing_or_error(is_repeated);
  // The most frequent call, (key, float), takes a tenth less time so.
  if (nargs == 2 && kwnames == nullptr && PyFloat_CheckExact(args[1]) && PyUnicode_CheckExact(args[0])) {
    History* settled = settled_history(hub, args[0]);
    if (settled != nullptr) return push_float(settled, PyFloat_AS_DOUBLE(args[1]));
    if (PyErr_Occurred() != nullptr) return nullptr;
  }
  PyObject* given[4] = {};
  if (!sort_arguments(signature, args, nargs, kwnames, given)) return nullptr;
  PyObject* resumed = given[3] == nullptr ? Py_True : given[3];
  Update update(given[0]);
  if (!check_key(update.key) || !read_value(given[1], update.key, &update.value) ||
      (given[2] != nullptr && !read_count(given[2], update.key, true, &update.count))) {
    PyObject* all[] = {given[0], given[1], given[2] == nullptr ? Py_None : given[2], resumed};
    if (!is_traced(self, "update_scalar", all, 4)) return nullptr;
    Py_RETURN_NONE;
  }
  if (resumed == Py_True) update.settled = settled_history(hub, update.key);
  if (update.settled == nullptr && PyErr_Occurred() != nullptr) return nullptr;
  if (update.settled == nullptr && !check_resumed(hub, "series", update.key, resumed)) return nullptr;
  const bool done = update.value.kind != Value::Kind::kNumber ? record_elsewhere(hub, &update, resumed)
                    : update.settled != nullptr               ? push(update.settled, &update)
                                                              : record(hub, &update, resumed);
  if (!done) return nullptr;
  Py_RETURN_NONE;
}

// `value`, or dict(value=..., count=...).
bool read_entry(PyObject* entry, Update* out) {
  PyObject* key = out->key;
  if (!PyDict_Check(entry)) return read_value(entry, key, &out->value);
  PyObject* value = PyDict_GetItemString(entry, "value");
  PyObject* count = PyDict_GetItemString(entry, "count");
  if (value == nullptr) {
    raise_for(key, "ArgumentError", "a dict must be dict(value=...) or dict(value=..., count=...), got %R",
              entry);
    return false;
  }
  Py_INCREF(value);  // reading one may run Python code that removes the other from the dict
  Py_XINCREF(count);
  const bool ok =
      read_value(value, key, &out->value) && (count == nullptr || read_count(count, key, true, &out->count));
  Py_DECREF(value);
  Py_XDECREF(count);
  return ok;
}

// The updates of one call, with the references that they hold.
class Updates {
 public:
  Updates() = default;
  ~Updates() {
    for (Update& update : list_) {
      Py_DECREF(update.key);
      Py_XDECREF(reinterpret_cast<PyObject*>(update.settled));
    }
  }
  Updates(const Updates&) = delete;
  Updates& operator=(const Updates&) = delete;

  bool read(PyObject* log_dict);
  bool check(Hub* hub, PyObject* resumed);
  bool launch(const Stopwatch* stopwatch = nullptr);
  bool apply(Hub* hub, PyObject* resumed);
  // Whether a lap was recorded; -1 with an error set.
  int apply_tick(Stopwatch* stopwatch);

 private:
  bool apply_captures(Hub* hub, PyObject* resumed);

  std::vector<Update> list_;
  Value tick_;
  bool any_elsewhere_ = false;  // a value that is no number yet
};

// Reading may run Python code that changes the dict: its items are held, and a change of size ends the call.
bool Updates::read(PyObject* log_dict) {
  const Py_ssize_t size = PyDict_GET_SIZE(log_dict);
  list_.reserve(static_cast<std::size_t>(size));
  Py_ssize_t position = 0;
  PyObject* key = nullptr;
  PyObject* entry = nullptr;
  while (PyDict_Next(log_dict, &position, &key, &entry)) {
    Py_INCREF(key);
    Py_INCREF(entry);
    list_.emplace_back(key);  // owns the key
    const bool ok = check_key(key) && read_entry(entry, &list_.back());
    any_elsewhere_ = any_elsewhere_ || list_.back().value.kind != Value::Kind::kNumber;
    Py_DECREF(entry);
    if (!ok) return false;
    if (PyDict_GET_SIZE(log_dict) != size) {
      PyErr_SetString(PyExc_RuntimeError, "log_dict changed size while it was read");
      return false;
    }
  }
  return true;
}

// When no value is to be read any more, so that what is seen in the hub stays true.
bool Updates::check(Hub* hub, PyObject* resumed) {
  for (Update& update : list_) {
    if (resumed == Py_True) update.settled = settled_history(hub, update.key);
    Py_XINCREF(reinterpret_cast<PyObject*>(update.settled));
    if (update.settled == nullptr && PyErr_Occurred() != nullptr) return false;
    if (update.settled == nullptr && !check_resumed(hub, "series", update.key, resumed)) return false;
  }
  return true;
}

bool Updates::launch(const Stopwatch* stopwatch) {
  if (!any_elsewhere_) return true;
  std::vector<Value*> values;
  values.reserve(list_.size() + 1);
  for (Update& update : list_) {
    Value* value = &update.value;
    values.push_back(value);
    const bool is_ticked = stopwatch == nullptr || tick_.kind == Value::Kind::kOnDevice;
    if (!is_ticked && value->kind == Value::Kind::kOnDevice &&
        prepare_tick(stopwatch, value->tensor, &tick_)) {
      values.push_back(&tick_);
    }
  }
  return bindings::launch(values.data(), values.size(), list_.front().key);
}

bool Updates::apply(Hub* hub, PyObject* resumed) {
  if (any_elsewhere_ && !apply_captures(hub, resumed)) {
    for (const Update& update : list_) forget(hub, update);
    return false;
  }
  // A user's buffer may ask for values of this call that are on devices: it comes last then.
  std::vector<Update*> foreign;
  bool is_as_seen = true;
  for (Update& update : list_) {
    if (update.value.kind == Value::Kind::kCapturing) continue;
    const bool is_settled = is_as_seen && update.settled != nullptr;
    if (any_elsewhere_ && !is_settled && is_foreign(hub, update.key)) {
      foreign.push_back(&update);
      continue;
    }
    if (!(is_settled ? push(update.settled, &update) : record(hub, &update, resumed))) return false;
    is_as_seen = is_settled;  // a foreign buffer may have changed the hub
  }
  for (Update* update : foreign) {
    if (!record(hub, update, resumed)) return false;
  }
  return true;
}

int Updates::apply_tick(Stopwatch* stopwatch) {
  const bool is_launched = tick_.kind == Value::Kind::kOnDevice && tick_.device != nullptr;
  return is_launched ? record_tick(stopwatch, &tick_) : 0;
}

// First, because it can fail: together, because each launch is a node that takes time in every replay.
bool Updates::apply_captures(Hub* hub, PyObject* resumed) {
  std::vector<Recording> recordings;
  const auto collect = [&](History* history, Update* update) {
    Py_INCREF(reinterpret_cast<PyObject*>(history));
    recordings.push_back({history, &update->value, &update->count});
    return true;
  };
  bool done = true;
  for (Update& update : list_) {
    if (update.value.kind != Value::Kind::kCapturing) continue;
    done = done && record(hub, &update, resumed, collect);
  }
  done = done && capture(recordings.data(), recordings.size());
  for (const Recording& recording : recordings) Py_DECREF(reinterpret_cast<PyObject*>(recording.history));
  return done;
}

// Records all values of a dict. Whether a lap of the stopwatch was; -1 with an error set.
int update_all(Hub* hub, PyObject* log_dict, PyObject* resumed, Stopwatch* stopwatch) {
  const int is_repeated = hub->skip_recompute != 0 ? is_recomputing() : 0;
  if (is_repeated != 0) return is_repeated < 0 ? -1 : 0;
  if (PyDict_CheckExact(log_dict)) {
    Py_INCREF(log_dict);
  } else {  // the order of an OrderedDict is not that of the dict below it
    log_dict = PyObject_CallFunctionObjArgs(reinterpret_cast<PyObject*>(&PyDict_Type), log_dict, nullptr);
    if (log_dict == nullptr) return -1;
  }
  int result = -1;
  try {
    Updates updates;
    if (updates.read(log_dict) && updates.check(hub, resumed) && updates.launch(stopwatch) &&
        updates.apply(hub, resumed)) {
      result = updates.apply_tick(stopwatch);
    }
  } catch (const std::bad_alloc&) {
    PyErr_NoMemory();
  }
  Py_DECREF(log_dict);
  return result;
}

PyObject* hub_update_scalars(PyObject* self, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) {
  static const char* const names[] = {"log_dict", "resumed", nullptr};
  static const Signature signature{"update_scalars", names, 2, 1};
  PyObject* given[2] = {};
  if (!sort_arguments(signature, args, nargs, kwnames, given)) return nullptr;
  if (!PyDict_Check(given[0])) return raise("ArgumentTypeError", "log_dict must be a dict, got %R", given[0]);
  PyObject* resumed = given[1] == nullptr ? Py_True : given[1];
  if (update_all(self_of(self), given[0], resumed, nullptr) < 0) {
    PyObject* all[] = {given[0], resumed};
    if (!is_traced(self, "update_scalars", all, 2)) return nullptr;
  }
  Py_RETURN_NONE;
}

// _update_scalars_and_lap(log_dict, stopwatch): also reads the device's clock in the same launch, if any
// value is on its device. Returns whether that ended a lap.
PyObject* hub_update_scalars_and_lap(PyObject* self, PyObject* const* args, Py_ssize_t nargs) {
  if (nargs != 2 || !PyDict_Check(args[0])) {
    PyErr_SetString(PyExc_TypeError, "_update_scalars_and_lap() takes a dict and a Stopwatch");
    return nullptr;
  }
  Stopwatch* stopwatch = as_stopwatch(args[1]);
  if (stopwatch == nullptr) return nullptr;
  const int is_lap = update_all(self_of(self), args[0], Py_True, stopwatch);
  return is_lap < 0 ? nullptr : PyBool_FromLong(is_lap);
}

PyObject* hub_update_info(PyObject* self, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) {
  static const char* const names[] = {"key", "value", "resumed", nullptr};
  static const Signature signature{"update_info", names, 3, 2};
  PyObject* given[3] = {};
  if (!sort_arguments(signature, args, nargs, kwnames, given)) return nullptr;
  Hub* hub = self_of(self);
  PyObject* resumed = given[2] == nullptr ? Py_True : given[2];
  if (!check_key(given[0]) || !check_resumed(hub, "info", given[0], resumed) ||
      !keep_resumed(hub, given[0], resumed) || PyObject_SetItem(hub->runtime_info, given[0], given[1]) != 0) {
    return nullptr;
  }
  Py_RETURN_NONE;
}

template <PyObject* Hub::* kMember>
PyObject* get_dict(PyObject* self, void*) {
  PyObject* dict = self_of(self)->*kMember;
  Py_INCREF(dict);
  return dict;
}

template <PyObject* Hub::* kMember>
int set_dict(PyObject* self, PyObject* value, void*) {
  if (value == nullptr || !PyDict_Check(value)) {
    PyErr_Format(PyExc_TypeError, "expected a dict, got %R", value == nullptr ? Py_None : value);
    return -1;
  }
  PyObject* before = self_of(self)->*kMember;
  Py_INCREF(value);
  self_of(self)->*kMember = value;
  // What was seen in the old dict of resumed keys is forgotten.
  if (kMember == &Hub::resumed_keys) self_of(self)->resumed_id = ++next_resumed_id;
  Py_XDECREF(before);
  return 0;
}

PyMethodDef methods[] = {
    {"update_scalar", as_method(hub_update_scalar), METH_FASTCALL | METH_KEYWORDS,
     "update_scalar($self, /, key, value, count=1, resumed=True)\n--\n\n"},
    {"update_scalars", as_method(hub_update_scalars), METH_FASTCALL | METH_KEYWORDS,
     "update_scalars($self, /, log_dict, resumed=True)\n--\n\n"},
    {"_update_scalars_and_lap", as_method(hub_update_scalars_and_lap), METH_FASTCALL,
     "_update_scalars_and_lap($self, log_dict, stopwatch, /)\n--\n\n"},
    {"update_info", as_method(hub_update_info), METH_FASTCALL | METH_KEYWORDS,
     "update_info($self, /, key, value, resumed=True)\n--\n\n"},
    {nullptr, nullptr, 0, nullptr},
};

PyGetSetDef properties[] = {
    {"log_scalars", get_dict<&Hub::log_scalars>, nullptr, "The histories by key: the dict itself, no copy.",
     nullptr},
    {"runtime_info", get_dict<&Hub::runtime_info>, nullptr,
     "The information by key: the dict itself, no copy.", nullptr},
    {"_log_scalars", get_dict<&Hub::log_scalars>, set_dict<&Hub::log_scalars>, nullptr, nullptr},
    {"_runtime_info", get_dict<&Hub::runtime_info>, set_dict<&Hub::runtime_info>, nullptr, nullptr},
    {"_resumed_keys", get_dict<&Hub::resumed_keys>, set_dict<&Hub::resumed_keys>, nullptr, nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};

PyMemberDef members[] = {
    {"skip_recompute", T_BOOL, offsetof(Hub, skip_recompute), 0,
     "Whether what a forward pass records is left out when activation checkpointing repeats it in backward."},
    {nullptr, 0, 0, 0, nullptr},
};

PyType_Slot slots[] = {
    {Py_tp_doc, const_cast<char*>("The scalars of a message hub; base of ringmeter.MessageHub.")},
    {Py_tp_new, reinterpret_cast<void*>(hub_new)},
    {Py_tp_dealloc, reinterpret_cast<void*>(hub_dealloc)},
    {Py_tp_traverse, reinterpret_cast<void*>(hub_traverse)},
    {Py_tp_clear, reinterpret_cast<void*>(hub_clear)},
    {Py_tp_methods, methods},
    {Py_tp_getset, properties},
    {Py_tp_members, members},
    {0, nullptr},
};

PyType_Spec spec = {
    "ringmeter._core.Hub",
    static_cast<int>(sizeof(Hub)),
    0,
    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    slots,
};

}  // namespace

PyObject* make_hub_type() {
  PyObject* type = PyType_FromSpec(&spec);
  hub_base = reinterpret_cast<PyTypeObject*>(type);
  return type;
}

PyObject* set_tracer(PyObject*, PyObject* function) {
  Py_INCREF(function);
  Py_XDECREF(tracer);
  tracer = function;
  Py_RETURN_NONE;
}

PyObject* set_hub_class(PyObject*, PyObject* cls) {
  if (!PyType_Check(cls) || !PyType_IsSubtype(reinterpret_cast<PyTypeObject*>(cls), hub_base)) {
    return PyErr_Format(PyExc_TypeError, "expected a subclass of Hub, got %R", cls);
  }
  if (!own_methods(reinterpret_cast<PyTypeObject*>(cls), methods)) return nullptr;
  Py_RETURN_NONE;
}

}  // namespace ringmeter::bindings
