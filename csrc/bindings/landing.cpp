#include "bindings/landing.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <memory>
#include <new>
#include <string>
#include <thread>
#include <vector>

#include "bindings/methods.h"
#include "bindings/python_errors.h"
#include "device/devices.h"

namespace ringmeter::bindings {

namespace {

using Clock = std::chrono::steady_clock;

// How long to wait for one value. Under the GIL.
std::chrono::duration<double> timeout{600.0};

// Launches that had to wait for room, by ordinal. Under the GIL.
std::array<std::uint64_t, Devices::kMost> waits{};

// A wait looks for signals so often.
constexpr std::chrono::milliseconds kSlice{100};

// How many launches go by until what has landed is taken out.
constexpr std::uint64_t kDrainEvery = 64;

void release_history(void* owner) { Py_DECREF(static_cast<PyObject*>(owner)); }

void land_in_history(void* owner, std::uint64_t position, const Number& value) {
  static_cast<History*>(owner)->series.land(position, value);
}

// A scalar that was captured in a graph, which may run as long as the process: never freed.
struct Captured {
  History* history;
  Number count;
  Device* device;
  std::uint32_t node;
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

void raise_device_error(PyObject* key, const char* what) { raise_for(key, "DeviceError", "%s", what); }

// `format` takes the number of seconds.
void raise_timeout(PyObject* key, const char* format) {
  PyObject* seconds = PyFloat_FromDouble(timeout.count());
  if (seconds != nullptr) raise_for(key, "PendingError", format, seconds);
  Py_XDECREF(seconds);
}

// Runs `work` without the GIL. False, with the message, when it throws.
template <class Work>
bool without_gil(Work&& work, std::string* problem) {
  bool done = true;
  Py_BEGIN_ALLOW_THREADS
  try {
    work();
  } catch (const std::exception& error) {
    *problem = error.what();
    done = false;
  }
  Py_END_ALLOW_THREADS
  return done;
}

enum class Wait { kLanded, kTimeout, kError };

// Waits until `landed()`, looking for signals.
template <class Landed>
Wait wait(Landed&& landed, PyObject* key) {
  Devices& devices = Devices::instance();
  const auto deadline = Clock::now() + std::chrono::duration_cast<Clock::duration>(timeout);
  for (;;) {
    bool is_landed = false;
    std::string problem;
    const bool asked = without_gil(
        [&] { is_landed = devices.wait(std::min(deadline, Clock::now() + kSlice), landed); }, &problem);
    devices.release(release_history);
    if (!asked) {
      raise_device_error(key, ("a value cannot land: " + problem).c_str());
      return Wait::kError;
    }
    if (is_landed) return Wait::kLanded;
    if (PyErr_CheckSignals() != 0) return Wait::kError;
    if (Clock::now() >= deadline) return Wait::kTimeout;
  }
}

// One launch on one stream, waiting for room if there is none.
bool launch_on(Device* device, std::size_t ordinal, const DeviceScalar* scalars, std::size_t n,
               DriverStream stream, PyObject* key, std::uint64_t* first) {
  for (;;) {
    bool has_room = false;
    std::string problem;
    bool done = true;
    if (device->is_congested()) {
      done = without_gil([&] { has_room = device->launch(scalars, n, stream, first); }, &problem);
    } else {
      try {
        has_room = device->launch(scalars, n, stream, first);
      } catch (const DriverError& error) {
        problem = error.what();
        done = false;
      }
    }
    if (!done) {
      raise_device_error(key, ("a value cannot be read from its device: " + problem).c_str());
      return false;
    }
    if (has_room) return true;
    ++waits[ordinal];
    switch (wait([&] { return device->has_room(n); }, key)) {
      case Wait::kLanded: continue;
      case Wait::kTimeout:
        raise_timeout(key, "room for a value must come free within %S s, none has");
        return false;
      case Wait::kError: return false;
    }
  }
}

// Values of one device and stream.
bool launch_group(Value* const* values, std::size_t n, PyObject* key) {
  const DeviceTensor& first_tensor = values[0]->tensor;
  Device* device = Devices::instance().find(first_tensor.ordinal);
  if (device == nullptr) {
    raise_device_error(key, Devices::instance().problem(first_tensor.ordinal).c_str());
    return false;
  }
  try {
    if (device->is_capturing(first_tensor.stream)) {
      for (std::size_t i = 0; i < n; ++i) values[i]->kind = Value::Kind::kCapturing;
      return true;
    }
  } catch (const DriverError& error) {
    raise_device_error(key, (std::string("a value cannot be read from its device: ") + error.what()).c_str());
    return false;
  }
  DeviceScalar scalars[kMostEntries];
  for (std::size_t i = 0; i < n; ++i) scalars[i] = values[i]->tensor.scalar;
  std::uint64_t first = 0;
  if (!launch_on(device, static_cast<std::size_t>(first_tensor.ordinal), scalars, n, first_tensor.stream, key,
                 &first))
    return false;
  for (std::size_t i = 0; i < n; ++i) {
    values[i]->device = device;
    values[i]->launched = first + i;
  }
  if (first / kDrainEvery != (first + n) / kDrainEvery) land_arrived();
  return true;
}

bool is_same_queue(const DeviceTensor& a, const DeviceTensor& b) {
  return a.ordinal == b.ordinal && a.stream == b.stream;
}

}  // namespace

bool find_device(int ordinal) {
  Devices& devices = Devices::instance();
  if (devices.is_known(ordinal)) return devices.find(ordinal) != nullptr;
  bool found = false;
  std::string problem;
  without_gil([&] { found = devices.find(ordinal) != nullptr; }, &problem);
  return found;
}

bool launch(Value* const* values, std::size_t n, PyObject* key) {
  Value* group[kMostEntries];
  // The device, and the stream, of each value that is in no group yet; nearly always all in one.
  for (std::size_t begin = 0; begin < n; ++begin) {
    if (values[begin]->kind != Value::Kind::kOnDevice || values[begin]->device != nullptr) continue;
    std::size_t size = 0;
    for (std::size_t i = begin; i < n && size < kMostEntries; ++i) {
      Value* value = values[i];
      if (value->kind == Value::Kind::kOnDevice && value->device == nullptr &&
          is_same_queue(value->tensor, values[begin]->tensor)) {
        group[size++] = value;
      }
    }
    if (!launch_group(group, size, key)) return false;
  }
  return true;
}

bool record(const Recording& recording) {
  History* history = recording.history;
  Value& value = *recording.value;
  try {
    if (value.kind == Value::Kind::kNumber) {
      history->series.push(value.number, recording.count);
      return true;
    }
    const Position position = history->series.push_pending(value.number.kind, recording.count);
    if (value.kind == Value::Kind::kOnDevice) {
      Py_INCREF(reinterpret_cast<PyObject*>(history));
      value.device->commit(value.launched, {land_in_history, history, position});
      value.device = nullptr;
      return true;
    }
    PyObject* done = PyObject_CallMethod(value.object, "assign", "OK", reinterpret_cast<PyObject*>(history),
                                         static_cast<unsigned long long>(position));
    // An interrupt: the position is taken, and must not be waited for for ever.
    if (done == nullptr) history->series.land(position, Number::real(std::nan("")));
    Py_XDECREF(done);
    return done != nullptr;
  } catch (const std::bad_alloc&) {
    PyErr_NoMemory();
    return false;
  }
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
        auto captured = std::make_unique<Captured>(Captured{each.history, each.count, device, 0});
        scalars[i] = each.value->tensor.scalar;
        nodes[i] = captured->node = device->add_node(scalars[i].type, {land_replayed, captured.get(), 0});
        Py_INCREF(reinterpret_cast<PyObject*>(each.history));
        all_captured().push_back(captured.release());
      }
      device->capture(scalars, nodes, size, tensor.stream);
    }
  } catch (const DriverError& error) {
    raise_device_error(recordings[0].history->key,
                       (std::string("a value cannot be captured: ") + error.what()).c_str());
    return false;
  } catch (const std::bad_alloc&) {
    PyErr_NoMemory();
    return false;
  }
  return true;
}

void land_arrived() {
  Devices& devices = Devices::instance();
  if (!devices.is_used()) return;
  devices.drain(false);
  devices.release(release_history);
}

void land_replays() {
  if (!all_captured().empty()) land_arrived();
}

bool wait_until_landed(History* history, Position end) {
  const auto landed = [&] { return history->series.landed() >= end; };
  land_arrived();
  if (landed()) return true;
  // What is staged lands all at once.
  PyObject* staging = PyImport_ImportModule("ringmeter._staging");
  PyObject* done = staging == nullptr
                       ? nullptr
                       : PyObject_CallMethod(staging, "flush", "O", reinterpret_cast<PyObject*>(history));
  Py_XDECREF(staging);
  Py_XDECREF(done);
  if (done == nullptr) return false;
  if (landed()) return true;
  switch (wait(landed, history->key)) {
    case Wait::kLanded: return true;
    case Wait::kTimeout:
      raise_timeout(history->key, "a value must land within %S s, it has not");
      return false;
    case Wait::kError: return false;
  }
  return false;
}

namespace {

PyObject* set_wait_timeout(PyObject*, PyObject* seconds) {
  const double given = PyFloat_AsDouble(seconds);
  if (PyErr_Occurred() != nullptr) return nullptr;
  if (!(given >= 0.0 && given <= 1e9)) {
    return raise("ArgumentError", "seconds must be from 0 to 1e9, got %R", seconds);
  }
  timeout = std::chrono::duration<double>(given);
  Py_RETURN_NONE;
}

PyObject* get_wait_timeout(PyObject*, PyObject*) { return PyFloat_FromDouble(timeout.count()); }

PyObject* land_arrived_function(PyObject*, PyObject*) {
  land_arrived();
  return PyLong_FromUnsignedLongLong(Devices::instance().in_flight());
}

PyObject* mark_function(PyObject*, PyObject*) {
  const std::vector<std::uint64_t> mark = Devices::instance().mark();
  PyObject* result = PyTuple_New(static_cast<Py_ssize_t>(mark.size()));
  for (std::size_t i = 0; result != nullptr && i < mark.size(); ++i) {
    PyTuple_SET_ITEM(result, static_cast<Py_ssize_t>(i), PyLong_FromUnsignedLongLong(mark[i]));
  }
  return result;
}

bool read_mark(PyObject* given, std::vector<std::uint64_t>* out) {
  if (!PyTuple_Check(given)) {
    PyErr_SetString(PyExc_TypeError, "expected a tuple");
    return false;
  }
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(given); ++i) {
    out->push_back(PyLong_AsUnsignedLongLong(PyTuple_GET_ITEM(given, i)));
  }
  return PyErr_Occurred() == nullptr;
}

PyObject* has_landed_function(PyObject*, PyObject* given) {
  std::vector<std::uint64_t> mark;
  if (!read_mark(given, &mark)) return nullptr;
  land_arrived();
  return PyBool_FromLong(Devices::instance().has_landed(mark));
}

PyObject* wait_for_function(PyObject*, PyObject* given) {
  std::vector<std::uint64_t> mark;
  if (!read_mark(given, &mark)) return nullptr;
  switch (wait([&] { return Devices::instance().has_landed(mark); }, nullptr)) {
    case Wait::kLanded: Py_RETURN_TRUE;
    case Wait::kTimeout: Py_RETURN_FALSE;
    case Wait::kError: break;
  }
  return nullptr;
}

PyObject* close_function(PyObject*, PyObject* seconds) {
  const double given = PyFloat_AsDouble(seconds);
  if (PyErr_Occurred() != nullptr) return nullptr;
  std::string problem;
  without_gil(
      [&] {
        const auto wait = std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(given));
        Devices::instance().close(Clock::now() + wait);
      },
      &problem);
  Py_RETURN_NONE;
}

// Why a device cannot be used through the driver: '' when it can. Tries it the first time.
PyObject* device_problem(PyObject*, PyObject* ordinal) {
  const long given = PyLong_AsLong(ordinal);
  if (PyErr_Occurred() != nullptr) return nullptr;
  if (find_device(static_cast<int>(given))) return PyUnicode_FromString("");
  return PyUnicode_FromString(Devices::instance().problem(static_cast<int>(given)).c_str());
}

// For each device that is used: (ordinal, launched, landed, waits for room).
PyObject* device_states(PyObject*, PyObject*) {
  PyObject* result = PyList_New(0);
  for (int ordinal = 0; result != nullptr && ordinal < static_cast<int>(Devices::kMost); ++ordinal) {
    if (!Devices::instance().is_known(ordinal)) continue;
    const Device* device = Devices::instance().find(ordinal);
    if (device == nullptr) break;  // forked, or closed
    const std::uint64_t landed = device->drained();
    const std::uint64_t first = device->first();
    PyObject* item =
        Py_BuildValue("(iKKK)", ordinal, static_cast<unsigned long long>(device->enqueued() - first),
                      static_cast<unsigned long long>(landed - first),
                      static_cast<unsigned long long>(waits[static_cast<std::size_t>(ordinal)]));
    if (item == nullptr || PyList_Append(result, item) != 0) Py_CLEAR(result);
    Py_XDECREF(item);
  }
  return result;
}

// For each device that was tried and cannot be used: (ordinal, why).
PyObject* device_problems(PyObject*, PyObject*) {
  PyObject* result = PyList_New(0);
  const std::vector<std::string> problems = Devices::instance().problems();
  for (std::size_t i = 0; result != nullptr && i < problems.size(); ++i) {
    if (problems[i].empty()) continue;
    PyObject* item = Py_BuildValue("(is)", static_cast<int>(i), problems[i].c_str());
    if (item == nullptr || PyList_Append(result, item) != 0) Py_CLEAR(result);
    Py_XDECREF(item);
  }
  return result;
}

// By history: how many values its captured scalars have lost. Nothing after a fork: that is for the parent.
PyObject* lost_replays(PyObject*, PyObject*) {
  PyObject* result = PyList_New(0);
  if (Devices::instance().is_forked()) return result;
  for (std::size_t i = 0; i < all_captured().size(); ++i) {  // making objects may run code that captures
    const Captured* captured = all_captured()[i];
    const std::uint64_t lost = captured->device->lost(captured->node);
    if (lost == 0) continue;
    PyObject* item = Py_BuildValue("(OK)", reinterpret_cast<PyObject*>(captured->history),
                                   static_cast<unsigned long long>(lost));
    const bool done = result != nullptr && item != nullptr && PyList_Append(result, item) == 0;
    Py_XDECREF(item);
    if (!done) Py_CLEAR(result);
    if (result == nullptr) return nullptr;
  }
  return result;
}

// For each captured scalar of a history: (count, nans, sum, min, max, last).
PyObject* replay_totals(PyObject*, PyObject* history) {
  PyObject* result = PyList_New(0);
  for (std::size_t i = 0; i < all_captured().size(); ++i) {
    const Captured* captured = all_captured()[i];
    if (reinterpret_cast<PyObject*>(captured->history) != history) continue;
    ReplayTotals totals;
    try {
      Devices::instance().require_open();
      totals = captured->device->totals(captured->node);
    } catch (const DriverError& error) {
      Py_XDECREF(result);
      raise_device_error(captured->history->key, error.what());
      return nullptr;
    }
    PyObject* item = Py_BuildValue("(KKdddN)", static_cast<unsigned long long>(totals.count),
                                   static_cast<unsigned long long>(totals.nans), totals.sum, totals.minimum,
                                   totals.maximum, to_numpy(totals.last));
    const bool done = result != nullptr && item != nullptr && PyList_Append(result, item) == 0;
    Py_XDECREF(item);
    if (!done) Py_CLEAR(result);
    if (result == nullptr) return nullptr;
  }
  return result;
}

}  // namespace

PyMethodDef landing_functions[] = {
    {"set_wait_timeout", set_wait_timeout, METH_O, "set_wait_timeout(seconds, /)\n--\n\n"},
    {"get_wait_timeout", get_wait_timeout, METH_NOARGS, "get_wait_timeout()\n--\n\n"},
    {"land_arrived", land_arrived_function, METH_NOARGS, "land_arrived()\n--\n\n"},
    {"mark", mark_function, METH_NOARGS, "mark()\n--\n\n"},
    {"has_landed", has_landed_function, METH_O, "has_landed(mark, /)\n--\n\n"},
    {"wait_for", wait_for_function, METH_O, "wait_for(mark, /)\n--\n\n"},
    {"close", close_function, METH_O, "close(seconds, /)\n--\n\n"},
    {"device_problem", device_problem, METH_O, "device_problem(ordinal, /)\n--\n\n"},
    {"device_states", device_states, METH_NOARGS, "device_states()\n--\n\n"},
    {"device_problems", device_problems, METH_NOARGS, "device_problems()\n--\n\n"},
    {"lost_replays", lost_replays, METH_NOARGS, "lost_replays()\n--\n\n"},
    {"replay_totals", replay_totals, METH_O, "replay_totals(history, /)\n--\n\n"},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace ringmeter::bindings
