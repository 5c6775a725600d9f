// Values that CUDA graphs record: each time they run, with nobody on the host taking part.
#pragma once

#include <Python.h>

#include <cstddef>

#include "bindings/landing.h"

namespace ringmeter::bindings {

// Captures kCapturing values: from now on each replay records one. False with an error set: nothing is
// captured.
bool capture(const Recording* recordings, std::size_t n);

// Lands what has arrived, if any graph records values: of those nobody knows until they have landed.
void land_replays();

// Waits for the replays that were put into the current stream before, of graphs that record into the history.
// False with an error set. A device that cannot be asked is passed over: what has landed can be read.
bool wait_for_replays(History* history);

// Makes the type ringmeter._core.ReplayMark. New reference, or null with an error set.
PyObject* make_replay_mark_type();

// Of the module, null-terminated.
extern PyMethodDef capture_functions[];

}  // namespace ringmeter::bindings
