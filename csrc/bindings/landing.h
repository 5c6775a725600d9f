// Values on devices: launched, recorded as pending, waited for.
#pragma once

#include <Python.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <new>
#include <string>

#include "bindings/history_type.h"
#include "bindings/scalar.h"

namespace ringmeter::bindings {

// Whether the driver can be used for that device; makes it ready the first time.
bool find_device(int ordinal);

// Enqueues the copies of those values that are on devices: one launch for each device, stream and 32 of them.
// Values whose stream captures a graph become kCapturing. False with an error set: nothing is going to be
// recorded.
bool launch(Value* const* values, std::size_t n, PyObject* key);

// A value for a history.
struct Recording {
  History* history;
  Value* value;
  const Number* count;  // not a copy: it was just written, and would have to be read back first
};

// Gives a value that was read, and launched if it is on a device, to its history. Not for kCapturing. False
// with an error set.
bool record_pending(const Recording& recording);
inline bool record(const Recording& recording) {
  if (recording.value->kind != Value::Kind::kNumber) return record_pending(recording);
  try {
    recording.history->series.push(recording.value->number, *recording.count);
  } catch (const std::bad_alloc&) {
    PyErr_NoMemory();
    return false;
  }
  return true;
}

// Lands what has arrived, without waiting.
void land_arrived();

// Waits until everything before `end` has landed. False with an error set.
bool wait_until_landed(History* history, Position end);

// Waits until `landed()`, no longer than wait_timeout(), looking for signals. After kError an error is set,
// that names the series when `key` is not null: a SyncError, at once, when waits are not allowed.
enum class Wait { kLanded, kTimeout, kError };
Wait wait(const std::function<bool()>& landed, PyObject* key);

// How long to wait for one value. Under the GIL.
std::chrono::duration<double>& wait_timeout();

// Whether values that have not landed may be waited for. Under the GIL.
bool& waits_are_allowed();

// Launches on a device that had to wait for room.
std::uint64_t waits_for_room(int ordinal);

// Sets a DeviceError; and a PendingError, whose format takes the seconds of wait_timeout().
void raise_device_error(PyObject* key, const std::string& what);
void raise_timeout(PyObject* key, const char* format);

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

}  // namespace ringmeter::bindings
