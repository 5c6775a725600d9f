// Between Python objects and numbers, both ways.
#pragma once

#include <Python.h>

#include "core/number.h"

namespace ringmeter::bindings {

// What a recorded value may be: a number, or anything of one real element (ringmeter/_scalars.py says
// which). False with a ScalarError set, naming the series when `key` is not null. May run Python code.
bool read_value(PyObject* value, PyObject* key, Number* out);

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
