// Between Python objects and numbers, both ways.
#pragma once

#include <Python.h>

#include "bindings/tensor_reader.h"
#include "core/number.h"

namespace ringmeter::bindings {

// A value to be recorded: a number, or where one will come from.
struct Value {
  enum class Kind {
    kNumber,
    kOnDevice,   // `tensor`, on a device that can be used
    kCapturing,  // the same, its stream captures a graph: a value for each replay
    kStaged,     // `object` is a ringmeter._staging.Staged, which lands it
  };

  Value() = default;
  Value(Value&& other) noexcept;
  Value& operator=(Value&&) = delete;
  ~Value() {
    if (kind != Kind::kNumber) drop();
  }

  Kind kind = Kind::kNumber;
  Number number;  // only its kind is known, unless kNumber
  // The rest is void of a number.
  DeviceTensor tensor;
  PyObject* object;        // owned: the tensor, or what lands it; may be null
  Device* device;          // of kOnDevice: where it was launched, until it is recorded
  std::uint64_t launched;  // and as what

  // Makes it one that is not a number yet.
  void set(Kind given, NumberKind number_kind, PyObject* new_object) {
    kind = given;
    number.kind = number_kind;
    Py_XINCREF(new_object);
    object = new_object;
    device = nullptr;
  }

 private:
  void drop();  // what was launched and not recorded lands nowhere
};

// What a recorded value may be: a number, or anything of one real element (ringmeter/_scalars.py says
// which). False with an error set, a ScalarError for what is none, naming the series when `key` is not null.
// May run Python code.
bool read_value(PyObject* value, PyObject* key, Value* out);
// The same as a number: waits for a device.
bool read_number(PyObject* value, PyObject* key, Number* out);

// A count: a finite number, and an integer when `integer_only`. Integers up to 2^53, which a double holds.
bool read_count(PyObject* count, PyObject* key, bool integer_only, Number* out);

// As numpy would answer from a history of that dtype: np.float64, np.int64 (np.uint64 when it takes
// that), np.bool_. New reference, or null with an error set.
PyObject* to_numpy(const Number& number);
PyObject* to_numpy(double value);

// As Python numbers, for handing on to methods that are not ours.
PyObject* to_python(const Number& number);

// Finds numpy's types. Called once, when the module is made. False with an error set.
bool find_numpy_types();

}  // namespace ringmeter::bindings
