#include "bindings/device_functions.h"

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "bindings/landing.h"
#include "bindings/methods.h"
#include "bindings/python_errors.h"
#include "device/devices.h"

namespace ringmeter::bindings {

namespace {

using Clock = std::chrono::steady_clock;

PyObject* set_wait_timeout(PyObject*, PyObject* seconds) {
  const double given = PyFloat_AsDouble(seconds);
  if (PyErr_Occurred() != nullptr) return nullptr;
  if (!(given >= 0.0 && given <= 1e9)) {
    return raise("ArgumentError", "seconds must be from 0 to 1e9, got %R", seconds);
  }
  wait_timeout() = std::chrono::duration<double>(given);
  Py_RETURN_NONE;
}

PyObject* get_wait_timeout(PyObject*, PyObject*) { return PyFloat_FromDouble(wait_timeout().count()); }

PyObject* set_waits_allowed(PyObject*, PyObject* allowed) {
  const int given = PyObject_IsTrue(allowed);
  if (given < 0) return nullptr;
  waits_are_allowed() = given == 1;
  Py_RETURN_NONE;
}

PyObject* waits_are_allowed_function(PyObject*, PyObject*) { return PyBool_FromLong(waits_are_allowed()); }

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
    append_to(&result,
              Py_BuildValue("(iKKK)", ordinal, static_cast<unsigned long long>(device->enqueued() - first),
                            static_cast<unsigned long long>(landed - first),
                            static_cast<unsigned long long>(waits_for_room(ordinal))));
  }
  return result;
}

// For each device that was tried and cannot be used: (ordinal, why).
PyObject* device_problems(PyObject*, PyObject*) {
  PyObject* result = PyList_New(0);
  const std::vector<std::string> problems = Devices::instance().problems();
  for (std::size_t i = 0; result != nullptr && i < problems.size(); ++i) {
    if (problems[i].empty()) continue;
    append_to(&result, Py_BuildValue("(is)", static_cast<int>(i), problems[i].c_str()));
  }
  return result;
}

}  // namespace

PyMethodDef device_functions[] = {
    {"set_wait_timeout", set_wait_timeout, METH_O, "set_wait_timeout(seconds, /)\n--\n\n"},
    {"get_wait_timeout", get_wait_timeout, METH_NOARGS, "get_wait_timeout()\n--\n\n"},
    {"set_waits_allowed", set_waits_allowed, METH_O, "set_waits_allowed(allowed, /)\n--\n\n"},
    {"waits_are_allowed", waits_are_allowed_function, METH_NOARGS, "waits_are_allowed()\n--\n\n"},
    {"land_arrived", land_arrived_function, METH_NOARGS, "land_arrived()\n--\n\n"},
    {"mark", mark_function, METH_NOARGS, "mark()\n--\n\n"},
    {"has_landed", has_landed_function, METH_O, "has_landed(mark, /)\n--\n\n"},
    {"wait_for", wait_for_function, METH_O, "wait_for(mark, /)\n--\n\n"},
    {"close", close_function, METH_O, "close(seconds, /)\n--\n\n"},
    {"device_problem", device_problem, METH_O, "device_problem(ordinal, /)\n--\n\n"},
    {"device_states", device_states, METH_NOARGS, "device_states()\n--\n\n"},
    {"device_problems", device_problems, METH_NOARGS, "device_problems()\n--\n\n"},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace ringmeter::bindings
