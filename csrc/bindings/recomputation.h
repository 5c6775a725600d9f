// Tells whether the running code is a forward pass that activation checkpointing repeats during backward.
#pragma once

namespace ringmeter::bindings {

// Looks for torch's autograd engine, if it has not been found yet; torch may be imported at any time.
void look_for_autograd();

// 1 if so, 0 if not, -1 with an error set. Takes 3 ns outside of backward.
int is_recomputing();

}  // namespace ringmeter::bindings
