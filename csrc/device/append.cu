// What runs on the device. append.ptx is made from this by `make ptx`, and checked in: building ringmeter
// needs no nvcc, and the driver compiles the text for whatever GPU is there.
//
// nvcc writes the .version of its own release, which drivers of a year ago refuse. Nothing here needs more
// than 6.0, where .relaxed and .sys begin, and sm_70 (Volta), the first target that has them: make_ptx.sh
// puts these in.
#include "device/append_kernels.h"

namespace ringmeter {

namespace {

struct Gpu {
  // Tells the compiler that it is not shared or local memory.
  static __device__ void* global(std::uint64_t address) {
    void* pointer = reinterpret_cast<void*>(address);
    __builtin_assume(__isGlobal(pointer));
    return pointer;
  }

  // The producer of a scalar comes before in the stream: a plain load sees what it wrote.
  template <class T>
  static __device__ T load(std::uint64_t address) {
    return *static_cast<const T*>(global(address));
  }

  template <class T>
  static __device__ void store(std::uint64_t address, const T& value) {
    *static_cast<T*>(global(address)) = value;
  }

  // One store of 16 bytes. Of that PTX promises two of 8, which is all that tagged words need; .release
  // would wait for the bus.
  static __device__ void store_pair(std::uint64_t address, std::uint64_t first, std::uint64_t second) {
    asm volatile("st.relaxed.sys.global.v2.u64 [%0], {%1, %2};"
                 :
                 : "l"(__cvta_generic_to_global(global(address))), "l"(first), "l"(second)
                 : "memory");
  }

  static __device__ std::uint64_t add(std::uint64_t address, std::uint64_t n) {
    return atomicAdd(static_cast<unsigned long long*>(global(address)), n);
  }

  static __device__ std::uint64_t clock() {
    std::uint64_t now;
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now));
    return now;
  }
};

}  // namespace

// __grid_constant__: read from where the driver put the parameters, not from a copy in local memory.

// One scalar, on one thread.
extern "C" __global__ void ringmeter_append_one(const __grid_constant__ AppendEntry entry) {
  kernels::append<Gpu>(entry);
}

// Up to kMostEntries scalars, each on a thread of one block.
extern "C" __global__ void ringmeter_append_many(const __grid_constant__ AppendEntries entries) {
  kernels::append<Gpu>(entries.entry[threadIdx.x]);
}

extern "C" __global__ void ringmeter_append_graph(const __grid_constant__ GraphEntries entries) {
  kernels::append_graph<Gpu>(entries.entry[threadIdx.x]);
}

}  // namespace ringmeter
