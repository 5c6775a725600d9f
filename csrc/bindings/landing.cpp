#include "bindings/landing.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <new>
#include <string>
#include <utility>

#include "bindings/python_errors.h"
#include "device/devices.h"

namespace ringmeter::bindings {

namespace {

using Clock = std::chrono::steady_clock;

// Launches that had to wait for room, by ordinal. Under the GIL.
std::array<std::uint64_t, Devices::kMost> waits{};

// A wait looks for signals so often.
constexpr std::chrono::milliseconds kSlice{100};

// Values of one call on devices: they must fit all at once.
constexpr std::size_t kMostOfCall = std::size_t{1} << Device::Sizes{}.log2_slots;

// How many launches go by until what has landed is taken out.
constexpr std::uint64_t kDrainEvery = 64;

void release_history(void* owner) { Py_DECREF(static_cast<PyObject*>(owner)); }

void land_in_history(void* owner, std::uint64_t position, const Number& value) {
  static_cast<History*>(owner)->series.land(position, value);
}

// One launch on one stream, waiting for room if there is none.
bool launch_on(Device* device, std::size_t ordinal, const DeviceScalar* scalars, std::size_t n,
               DriverStream stream, PyObject* key, std::uint64_t* first) {
  for (;;) {
    bool has_room = false;
    std::string problem;
    bool done = true;
    if (device->is_congested()) land_arrived();
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
      raise_device_error(key, "a value cannot be read from its device: " + problem);
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
    raise_device_error(key, Devices::instance().problem(first_tensor.ordinal));
    return false;
  }
  try {
    if (device->is_capturing(first_tensor.stream)) {
      for (std::size_t i = 0; i < n; ++i) values[i]->kind = Value::Kind::kCapturing;
      return true;
    }
  } catch (const DriverError& error) {
    raise_device_error(key, std::string("a value cannot be read from its device: ") + error.what());
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

}  // namespace

std::chrono::duration<double>& wait_timeout() {
  static std::chrono::duration<double> timeout{600.0};
  return timeout;
}

bool& waits_are_allowed() {
  static bool are_allowed = true;
  return are_allowed;
}

std::uint64_t waits_for_room(int ordinal) { return waits[static_cast<std::size_t>(ordinal)]; }

void raise_device_error(PyObject* key, const std::string& what) {
  raise_for(key, "DeviceError", "%s", what.c_str());
}

void raise_timeout(PyObject* key, const char* format) {
  PyObject* seconds = PyFloat_FromDouble(wait_timeout().count());
  if (seconds != nullptr) raise_for(key, "PendingError", format, seconds);
  Py_XDECREF(seconds);
}

Wait wait(const std::function<bool()>& landed, PyObject* key) {
  Devices& devices = Devices::instance();
  const auto seconds = waits_are_allowed() ? wait_timeout() : std::chrono::duration<double>::zero();
  const auto deadline = Clock::now() + std::chrono::duration_cast<Clock::duration>(seconds);
  for (;;) {
    bool is_landed = false;
    std::string problem;
    const bool asked = without_gil(
        [&] { is_landed = devices.wait(std::min(deadline, Clock::now() + kSlice), landed); }, &problem);
    devices.release(release_history);
    if (!asked) {
      raise_device_error(key, "a value cannot land: " + problem);
      return Wait::kError;
    }
    if (is_landed) return Wait::kLanded;
    if (PyErr_CheckSignals() != 0) return Wait::kError;
    if (!waits_are_allowed()) {
      raise_for(key, "SyncError", "values that are still on a device must not be waited for");
      return Wait::kError;
    }
    if (Clock::now() >= deadline) return Wait::kTimeout;
  }
}

bool find_device(int ordinal) {
  Devices& devices = Devices::instance();
  if (devices.is_known(ordinal)) return devices.find(ordinal) != nullptr;
  bool found = false;
  std::string problem;
  without_gil([&] { found = devices.find(ordinal) != nullptr; }, &problem);
  static std::array<bool, Devices::kMost> is_reported{};  // under the GIL
  const auto place = static_cast<std::size_t>(ordinal);
  if (place >= Devices::kMost || std::exchange(is_reported[place], true)) return found;
  PyObject* module = PyImport_ImportModule("ringmeter._devices");
  PyObject* done = module == nullptr ? nullptr
                                     : PyObject_CallMethod(module, "report_choice", "is", ordinal,
                                                           devices.problem(ordinal).c_str());
  Py_XDECREF(module);
  if (done == nullptr) PyErr_WriteUnraisable(nullptr);  // a logging handler of the user's, perhaps
  Py_XDECREF(done);
  return found;
}

bool launch(Value* const* values, std::size_t n, PyObject* key) {
  const auto on_devices = static_cast<std::size_t>(std::count_if(
      values, values + n, [](const Value* value) { return value->kind == Value::Kind::kOnDevice; }));
  if (on_devices > kMostOfCall) {
    raise_for(key, "ArgumentError", "at most %zu values on devices can be recorded in one call, got %zu",
              kMostOfCall, on_devices);
    return false;
  }
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

bool record_pending(const Recording& recording) {
  History* history = recording.history;
  Value& value = *recording.value;
  try {
    const Position position = history->series.push_pending(value.number.kind, *recording.count);
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

void land_arrived() {
  Devices& devices = Devices::instance();
  if (!devices.is_used()) return;
  devices.drain(false);
  devices.release(release_history);
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

}  // namespace ringmeter::bindings
