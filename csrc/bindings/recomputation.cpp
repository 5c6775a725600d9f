#include "bindings/recomputation.h"

#include <Python.h>
#include <dlfcn.h>

namespace ringmeter::bindings {

namespace {

// torch::autograd::get_current_graph_task_id(), what torch._C._current_graph_task_id() returns: -1 outside of
// backward. By its C++ name because the Python call costs as much as a whole update. Null: not found.
using GraphTaskId = int (*)();
GraphTaskId graph_task_id = nullptr;

}  // namespace

void look_for_autograd() {
  if (graph_task_id != nullptr) return;
  void* torch = dlopen("libtorch_cpu.so", RTLD_LAZY | RTLD_NOLOAD);  // only if it is loaded
  if (torch == nullptr) return;
  graph_task_id =
      reinterpret_cast<GraphTaskId>(dlsym(torch, "_ZN5torch8autograd25get_current_graph_task_idEv"));
}

int is_recomputing() {
  if (graph_task_id == nullptr || graph_task_id() == -1) return 0;
  static PyObject* module = nullptr;  // set once, under the GIL
  if (module == nullptr) module = PyImport_ImportModule("ringmeter._recomputation");
  PyObject* answer = module == nullptr ? nullptr : PyObject_CallMethod(module, "is_recomputing", nullptr);
  if (answer == nullptr) return -1;
  const int result = PyObject_IsTrue(answer);
  Py_DECREF(answer);
  return result;
}

}  // namespace ringmeter::bindings
