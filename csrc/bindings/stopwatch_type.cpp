#include "bindings/stopwatch_type.h"

#include <cstdint>
#include <new>

#include "bindings/landing.h"
#include "bindings/tensor_reader.h"

namespace ringmeter::bindings {

namespace {

constexpr int kNoDevice = -1;

// What a tick is for; in the low bits of a receiver's position.
enum class Tick : std::uint64_t { kStart, kPause, kResume, kLap };

PyTypeObject* stopwatch_type = nullptr;  // set once

Stopwatch* self_of(PyObject* self) { return reinterpret_cast<Stopwatch*>(self); }

void land_tick(void* owner, std::uint64_t what, const Number& number) {
  auto* stopwatch = static_cast<Stopwatch*>(owner);
  // Exact: a clock in nanoseconds is below 2^63.
  const auto clock = static_cast<std::uint64_t>(static_cast<std::int64_t>(number.high) +
                                                static_cast<std::int64_t>(number.low));
  const auto tick = static_cast<Tick>(what & 3);
  if (tick == Tick::kStart) {
    stopwatch->elapsed = 0;
    stopwatch->base = clock;
  }
  // Ticks of two streams may come in another order than their clocks: time does not go back.
  const std::uint64_t passed = clock > stopwatch->base ? clock - stopwatch->base : 0;
  if (stopwatch->is_running && (tick == Tick::kPause || tick == Tick::kLap)) stopwatch->elapsed += passed;
  stopwatch->base += passed;
  stopwatch->is_running = tick != Tick::kPause;
  if (tick != Tick::kLap) return;
  stopwatch->history->series.land(what >> 2, Number::real(static_cast<double>(stopwatch->elapsed) * 1e-9));
  stopwatch->elapsed = 0;
}

// Gives a launched tick to the stopwatch. False with an error set.
bool record(Stopwatch* stopwatch, Value* value, Tick tick) {
  std::uint64_t what = static_cast<std::uint64_t>(tick);
  if (tick == Tick::kLap) {
    try {
      const Number one = Number::integer(std::int64_t{1});
      what |= stopwatch->history->series.push_pending(NumberKind::kFloat, one) << 2;
    } catch (const std::bad_alloc&) {
      PyErr_NoMemory();
      return false;
    }
  }
  stopwatch->ordinal = value->tensor.ordinal;
  Py_INCREF(reinterpret_cast<PyObject*>(stopwatch));
  value->device->commit(value->launched, {land_tick, stopwatch, what});
  value->device = nullptr;
  return true;
}

void set_tick(int ordinal, DriverStream stream, Value* out) {
  out->set(Value::Kind::kOnDevice, NumberKind::kInt, nullptr);
  out->tensor = {{0, ElementType::kUInt64}, ordinal, stream};
}

// A tick of its own. False when there is none: no device is in use, its stream captures, or it has failed.
template <Tick kTick>
PyObject* tick(PyObject* self, PyObject*) {
  Stopwatch* stopwatch = self_of(self);
  const bool is_first = stopwatch->ordinal == kNoDevice;
  const int ordinal = is_first ? last_ordinal() : stopwatch->ordinal;
  DriverStream stream = nullptr;
  if (ordinal == kNoDevice || (is_first && kTick != Tick::kStart) || !current_stream(ordinal, &stream)) {
    if (PyErr_Occurred() != nullptr) return nullptr;
    Py_RETURN_FALSE;
  }
  Value value;
  set_tick(ordinal, stream, &value);
  Value* values = &value;
  if (!launch(&values, 1, stopwatch->history->key)) {
    if (PyErr_ExceptionMatches(PyExc_RuntimeError) == 0) return nullptr;  // an interrupt
    PyErr_Clear();  // who has a value there will hear of it
    Py_RETURN_FALSE;
  }
  if (value.kind == Value::Kind::kCapturing) Py_RETURN_FALSE;
  if (!record(stopwatch, &value, kTick)) return nullptr;
  Py_RETURN_TRUE;
}

PyObject* stopwatch_new(PyTypeObject* type, PyObject* args, PyObject* kwargs) {
  static const char* names[] = {"history", nullptr};
  PyObject* history = nullptr;
  if (PyArg_ParseTupleAndKeywords(args, kwargs, "O", const_cast<char**>(names), &history) == 0) {
    return nullptr;
  }
  if (!is_plain_history(history)) {
    return PyErr_Format(PyExc_TypeError, "history must be a HistoryBuffer, got %R", history);
  }
  PyObject* self = type->tp_alloc(type, 0);
  if (self == nullptr) return nullptr;
  Py_INCREF(history);
  self_of(self)->history = reinterpret_cast<History*>(history);
  self_of(self)->ordinal = kNoDevice;
  return self;
}

void stopwatch_dealloc(PyObject* self) {
  PyTypeObject* type = Py_TYPE(self);
  Py_DECREF(reinterpret_cast<PyObject*>(self_of(self)->history));
  type->tp_free(self);
  Py_DECREF(type);
}

PyObject* stopwatch_is_started(PyObject* self, void*) {
  return PyBool_FromLong(self_of(self)->ordinal != kNoDevice);
}

PyMethodDef methods[] = {
    {"start", tick<Tick::kStart>, METH_NOARGS, "start($self, /)\n--\n\n"},
    {"pause", tick<Tick::kPause>, METH_NOARGS, "pause($self, /)\n--\n\n"},
    {"resume", tick<Tick::kResume>, METH_NOARGS, "resume($self, /)\n--\n\n"},
    {"lap", tick<Tick::kLap>, METH_NOARGS, "lap($self, /)\n--\n\n"},
    {nullptr, nullptr, 0, nullptr},
};

PyGetSetDef properties[] = {
    {"is_started", stopwatch_is_started, nullptr, nullptr, nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};

PyType_Slot slots[] = {
    {Py_tp_doc,
     const_cast<char*>("Seconds on a device between ticks in its stream, as values of a history.")},
    {Py_tp_new, reinterpret_cast<void*>(stopwatch_new)},
    {Py_tp_dealloc, reinterpret_cast<void*>(stopwatch_dealloc)},
    {Py_tp_methods, methods},
    {Py_tp_getset, properties},
    {0, nullptr},
};

PyType_Spec spec = {
    "ringmeter._core.Stopwatch", static_cast<int>(sizeof(Stopwatch)), 0, Py_TPFLAGS_DEFAULT, slots,
};

}  // namespace

PyObject* make_stopwatch_type() {
  PyObject* type = PyType_FromSpec(&spec);
  stopwatch_type = reinterpret_cast<PyTypeObject*>(type);
  return type;
}

Stopwatch* as_stopwatch(PyObject* object) {
  if (Py_TYPE(object) == stopwatch_type) return self_of(object);
  PyErr_Format(PyExc_TypeError, "expected a Stopwatch, got %R", object);
  return nullptr;
}

bool prepare_tick(const Stopwatch* stopwatch, const DeviceTensor& tensor, Value* out) {
  if (stopwatch->ordinal != kNoDevice && stopwatch->ordinal != tensor.ordinal) return false;
  set_tick(tensor.ordinal, tensor.stream, out);
  return true;
}

int record_tick(Stopwatch* stopwatch, Value* tick) {
  const bool is_first = stopwatch->ordinal == kNoDevice;
  if (!record(stopwatch, tick, is_first ? Tick::kStart : Tick::kLap)) return -1;
  return is_first ? 0 : 1;
}

}  // namespace ringmeter::bindings
