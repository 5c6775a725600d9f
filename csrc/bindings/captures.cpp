#include "bindings/captures.h"

#include <algorithm>
#include <memory>
#include <new>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "bindings/methods.h"
#include "bindings/python_errors.h"
#include "bindings/tensor_reader.h"
#include "device/devices.h"

namespace ringmeter::bindings {

namespace {

// A scalar that was captured in a graph, which may run as long as the process: never freed.
struct Captured {
  History* history;
  Number count;
  Device* device;
  std::uint32_t node;
  int ordinal;
};

// Under the GIL. Addresses are kept by nodes.
std::vector<Captured*>& all_captured() {
  static auto* captured = new std::vector<Captured*>;
  return *captured;
}

void land_replayed(void* owner, std::uint64_t, const Number& value) {
  const auto* captured = static_cast<const Captured*>(owner);
  for (;;) {  // nobody can be told that there is no memory
    try {
      captured->history->series.push(value, captured->count);
      return;
    } catch (const std::bad_alloc&) {
      std::this_thread::yield();
    }
  }
}

std::vector<int> captured_ordinals(const History* history) {
  std::vector<int> ordinals;
  for (const Captured* captured : all_captured()) {
    if (history != nullptr && captured->history != history) continue;
    if (std::find(ordinals.begin(), ordinals.end(), captured->ordinal) == ordinals.end()) {
      ordinals.push_back(captured->ordinal);
    }
  }
  return ordinals;
}

// Launches a replay_mark() into the current stream. False, perhaps with an error set, when there is none.
bool launch_mark(int ordinal, Value* out) {
  const Device* device = Devices::instance().find(ordinal);
  DriverStream stream = nullptr;
  if (device == nullptr || !current_stream(ordinal, &stream)) return false;
  out->set(Value::Kind::kOnDevice, NumberKind::kInt, nullptr);
  out->tensor = {device->replay_mark(), ordinal, stream};
  if (!launch(&out, 1, nullptr)) {
    if (PyErr_ExceptionMatches(PyExc_RuntimeError) != 0) PyErr_Clear();  // what has landed can still be read
    return false;
  }
  return out->kind == Value::Kind::kOnDevice;
}

// ringmeter._core.ReplayMark: where each history that graphs record into stood.
struct ReplayMark {
  PyObject_HEAD
  std::vector<std::pair<History*, Position>>* histories;  // owned, and the histories too
};

void land_mark(void* owner, std::uint64_t, const Number&) {
  for (auto& [history, position] : *static_cast<ReplayMark*>(owner)->histories) {
    position = history->series.position();
  }
}

void replay_mark_dealloc(PyObject* self) {
  PyTypeObject* type = Py_TYPE(self);
  auto* histories = reinterpret_cast<ReplayMark*>(self)->histories;
  if (histories != nullptr) {
    for (const auto& each : *histories) Py_DECREF(reinterpret_cast<PyObject*>(each.first));
  }
  delete histories;
  type->tp_free(self);
  Py_DECREF(type);
}

// positions(): [(history, position)], once the mark has landed.
PyObject* replay_mark_positions(PyObject* self, PyObject*) {
  PyObject* result = PyList_New(0);
  for (const auto& [history, position] : *reinterpret_cast<ReplayMark*>(self)->histories) {
    if (result == nullptr) break;
    append_to(&result, Py_BuildValue("(OK)", reinterpret_cast<PyObject*>(history),
                                     static_cast<unsigned long long>(position)));
  }
  return result;
}

PyMethodDef replay_mark_methods[] = {
    {"positions", replay_mark_positions, METH_NOARGS, "positions($self, /)\n--\n\n"},
    {nullptr, nullptr, 0, nullptr},
};

PyType_Slot replay_mark_slots[] = {
    {Py_tp_doc, const_cast<char*>("Where each history that CUDA graphs record into stood.")},
    {Py_tp_dealloc, reinterpret_cast<void*>(replay_mark_dealloc)},
    {Py_tp_methods, replay_mark_methods},
    {0, nullptr},
};

PyType_Spec replay_mark_spec = {
    "ringmeter._core.ReplayMark",
    static_cast<int>(sizeof(ReplayMark)),
    0,
    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    replay_mark_slots,
};

PyTypeObject* replay_mark_type = nullptr;  // set once

// New reference, or null, perhaps with an error set.
PyObject* new_replay_mark(int ordinal) {
  Value value;
  if (!launch_mark(ordinal, &value)) return nullptr;
  PyObject* self = replay_mark_type->tp_alloc(replay_mark_type, 0);
  if (self == nullptr) return nullptr;
  auto* mark = reinterpret_cast<ReplayMark*>(self);
  try {
    auto histories = std::make_unique<std::vector<std::pair<History*, Position>>>();
    for (const Captured* captured : all_captured()) {
      if (captured->ordinal == ordinal) histories->emplace_back(captured->history, 0);
    }
    mark->histories = histories.release();
  } catch (const std::bad_alloc&) {
    Py_DECREF(self);
    return PyErr_NoMemory();
  }
  for (const auto& each : *mark->histories) Py_INCREF(reinterpret_cast<PyObject*>(each.first));
  Py_INCREF(self);  // until it has landed
  value.device->commit(value.launched, {land_mark, mark, 0});
  value.device = nullptr;
  return self;
}

}  // namespace

PyObject* make_replay_mark_type() {
  PyObject* type = PyType_FromSpec(&replay_mark_spec);
  replay_mark_type = reinterpret_cast<PyTypeObject*>(type);
  return type;
}

bool capture(const Recording* recordings, std::size_t n) {
  try {
    for (std::size_t begin = 0; begin < n; begin += kMostEntries) {
      // Values of one call are on one stream, but for programs that no capture would allow.
      const std::size_t size = std::min(n - begin, kMostEntries);
      DeviceScalar scalars[kMostEntries];
      std::uint32_t nodes[kMostEntries];
      const DeviceTensor& tensor = recordings[begin].value->tensor;
      Device* device = Devices::instance().find(tensor.ordinal);
      if (device == nullptr) throw DriverError(kSuccess, Devices::instance().problem(tensor.ordinal));
      for (std::size_t i = 0; i < size; ++i) {
        const Recording& each = recordings[begin + i];
        if (!is_same_queue(each.value->tensor, tensor)) {
          throw DriverError(kSuccess,
                            "the values of one call must be on one stream while it captures a graph");
        }
        all_captured().reserve(all_captured().size() + 1);
        auto captured =
            std::make_unique<Captured>(Captured{each.history, *each.count, device, 0, tensor.ordinal});
        scalars[i] = each.value->tensor.scalar;
        nodes[i] = captured->node = device->add_node(scalars[i].type, {land_replayed, captured.get(), 0});
        Py_INCREF(reinterpret_cast<PyObject*>(each.history));
        all_captured().push_back(captured.release());
      }
      device->capture(scalars, nodes, size, tensor.stream);
      for (std::size_t i = 0; i < size; ++i) recordings[begin + i].history->is_captured = true;
    }
  } catch (const DriverError& error) {
    raise_device_error(recordings[0].history->key,
                       std::string("a value cannot be captured: ") + error.what());
    return false;
  } catch (const std::bad_alloc&) {
    PyErr_NoMemory();
    return false;
  }
  return true;
}

bool wait_for_replays(History* history) try {
  std::vector<std::uint64_t> ends(Devices::kMost);
  for (const int ordinal : captured_ordinals(history)) {
    Value mark;
    if (launch_mark(ordinal, &mark)) {
      ends[static_cast<std::size_t>(ordinal)] = mark.launched + 1;
    } else if (PyErr_Occurred() != nullptr) {
      return false;
    }
  }  // the marks go to nobody
  switch (wait([&] { return Devices::instance().has_landed(ends); }, history->key)) {
    case Wait::kLanded: return true;
    case Wait::kTimeout: raise_timeout(history->key, "replays must end within %S s, they have not"); break;
    case Wait::kError: break;
  }
  return false;
} catch (const std::bad_alloc&) {
  PyErr_NoMemory();
  return false;
}

void land_replays() {
  if (!all_captured().empty()) land_arrived();
}

namespace {

// By history: how many values its captured scalars have lost. Nothing after a fork: that is for the parent.
PyObject* lost_replays(PyObject*, PyObject*) {
  PyObject* result = PyList_New(0);
  if (all_captured().empty() || Devices::instance().is_forked()) return result;
  std::vector<std::pair<const Captured*, std::uint64_t>> lost;
  std::string problem;
  for (const Captured* captured : all_captured()) lost.emplace_back(captured, 0);
  without_gil(  // a launch that waits for the driver may hold the device's lock
      [&] {
        for (auto& [captured, number] : lost) number = captured->device->lost(captured->node);
      },
      &problem);
  for (const auto& [captured, number] : lost) {
    if (number == 0 || result == nullptr) continue;
    append_to(&result, Py_BuildValue("(OK)", reinterpret_cast<PyObject*>(captured->history),
                                     static_cast<unsigned long long>(number)));
  }
  return result;
}

// Whether CUDA graphs record into a history of a dict.
PyObject* has_captures(PyObject*, PyObject* log_scalars) {
  if (all_captured().empty()) Py_RETURN_FALSE;
  if (!PyDict_Check(log_scalars))
    return PyErr_Format(PyExc_TypeError, "expected a dict, got %R", log_scalars);
  Py_ssize_t place = 0;
  PyObject* buffer = nullptr;
  while (PyDict_Next(log_scalars, &place, nullptr, &buffer)) {
    if (is_plain_history(buffer) && reinterpret_cast<History*>(buffer)->is_captured) Py_RETURN_TRUE;
  }
  Py_RETURN_FALSE;
}

// For each device that scalars were captured on, what replay_mark() has to say once it has landed.
PyObject* mark_replays(PyObject*, PyObject*) {
  PyObject* result = PyList_New(0);
  for (const int ordinal : captured_ordinals(nullptr)) {
    if (result == nullptr) break;
    PyObject* mark = new_replay_mark(ordinal);
    if (mark == nullptr && PyErr_Occurred() == nullptr) continue;  // its stream captures, or it has failed
    append_to(&result, mark);
  }
  return result;
}

// For each captured scalar of a history: (count, nans, sum, min, max, last).
PyObject* replay_totals(PyObject*, PyObject* history) {
  PyObject* result = PyList_New(0);
  for (std::size_t i = 0; result != nullptr && i < all_captured().size(); ++i) {
    const Captured* captured = all_captured()[i];
    if (reinterpret_cast<PyObject*>(captured->history) != history) continue;
    ReplayTotals totals;
    std::string problem;
    const bool read = without_gil(
        [&] {
          Devices::instance().require_open();
          totals = captured->device->totals(captured->node);
        },
        &problem);
    if (!read) {
      Py_XDECREF(result);
      raise_device_error(captured->history->key, problem);
      return nullptr;
    }
    append_to(&result, Py_BuildValue("(KKdddN)", static_cast<unsigned long long>(totals.count),
                                     static_cast<unsigned long long>(totals.nans), totals.sum, totals.minimum,
                                     totals.maximum, to_numpy(totals.last)));
  }
  return result;
}

}  // namespace

PyMethodDef capture_functions[] = {
    {"lost_replays", lost_replays, METH_NOARGS, "lost_replays()\n--\n\n"},
    {"has_captures", has_captures, METH_O, "has_captures(log_scalars, /)\n--\n\n"},
    {"mark_replays", mark_replays, METH_NOARGS, "mark_replays()\n--\n\n"},
    {"replay_totals", replay_totals, METH_O, "replay_totals(history, /)\n--\n\n"},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace ringmeter::bindings
