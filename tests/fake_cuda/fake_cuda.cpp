// A test double for libcuda.so.1: a thread for each stream, and C++ in place of the kernels. It is as strict
// as the driver where ringmeter could go wrong: parameters are copied at launch, a launch needs the stream's
// context, memory comes dirty, the two words of a slot are written in either order with a pause between.
#include "fake_cuda.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "device/append_entry.h"

namespace {

using ringmeter::AppendEntry;
using ringmeter::DriverResult;

constexpr DriverResult kInvalidValue = 1;
constexpr DriverResult kNotInitialised = 3;
constexpr DriverResult kInvalidDevice = 101;
constexpr DriverResult kInvalidContext = 201;
constexpr DriverResult kInvalidPtx = 218;
constexpr DriverResult kUnsupportedPtx = 222;
constexpr DriverResult kInvalidHandle = 400;
constexpr DriverResult kNotFound = 500;
constexpr int kDevices = 2;

struct Context {
  int device;
};

class Stream {
 public:
  explicit Stream(int device) : device_(device), thread_([this] { run(); }) {}
  ~Stream() {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      is_stopped_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }

  int device() const { return device_; }
  void delay(int microseconds) { delay_ = microseconds; }

  void pause(bool paused) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      is_paused_ = paused;
    }
    changed_.notify_all();
  }

  void push(std::function<void()> work) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      queue_.push_back(std::move(work));
    }
    changed_.notify_all();
  }

  bool is_idle() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return queue_.empty() && !is_busy_;
  }

  void sync() {
    while (!is_idle()) std::this_thread::sleep_for(std::chrono::microseconds(50));
  }

 private:
  void run() {
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
      changed_.wait(lock, [this] { return is_stopped_ || (!is_paused_ && !queue_.empty()); });
      if (is_stopped_) return;
      const std::function<void()> work = std::move(queue_.front());
      queue_.pop_front();
      is_busy_ = true;
      lock.unlock();
      if (delay_ > 0) std::this_thread::sleep_for(std::chrono::microseconds(delay_));
      work();
      lock.lock();
      is_busy_ = false;
    }
  }

  const int device_;
  std::atomic<int> delay_{0};
  std::mutex mutex_;  // protects the four below
  std::deque<std::function<void()>> queue_;
  bool is_paused_ = false;
  bool is_busy_ = false;
  bool is_stopped_ = false;
  std::condition_variable changed_;
  std::thread thread_;
};

struct Failure {
  long call;
  DriverResult result;
  bool for_ever;
};

struct Driver {
  std::mutex mutex;  // protects all below
  bool is_initialised = false;
  int ptx_version = 900;
  std::map<std::string, long> calls;
  std::map<std::string, Failure> failures;
  std::vector<std::unique_ptr<Stream>> streams;
  std::unique_ptr<Stream> default_streams[kDevices];
  std::deque<std::string> texts;   // of modules and names of functions: what their handles point at
  std::vector<void*> host_memory;  // never freed, as by who takes it
};

Driver& driver() {
  static Driver* instance = new Driver;  // outlives everything, as the real one
  return *instance;
}

Context contexts[kDevices] = {{0}, {1}};
thread_local std::vector<Context*> context_stack;
thread_local int capture_mode = 0;

Context* current() { return context_stack.empty() ? nullptr : context_stack.back(); }

DriverResult enter(const char* function) {
  Driver& fake = driver();
  const std::lock_guard<std::mutex> lock(fake.mutex);
  const long call = ++fake.calls[function];
  const auto failure = fake.failures.find(function);
  if (failure != fake.failures.end()) {
    const Failure& fail = failure->second;
    if (call == fail.call || (fail.for_ever && call > fail.call)) return fail.result;
  }
  return fake.is_initialised || std::strcmp(function, "cuInit") == 0 ? 0 : kNotInitialised;
}

Stream* default_stream(int device) {
  Driver& fake = driver();
  const std::lock_guard<std::mutex> lock(fake.mutex);
  std::unique_ptr<Stream>& own = fake.default_streams[device];
  if (own == nullptr) own = std::make_unique<Stream>(device);
  return own.get();
}

Stream* resolve(void* stream) {
  if (stream != nullptr) return static_cast<Stream*>(stream);
  return current() == nullptr ? nullptr : default_stream(current()->device);
}

void* address(std::uint64_t pointer) { return reinterpret_cast<void*>(static_cast<std::uintptr_t>(pointer)); }

// The kernel of one thread.
void append(const AppendEntry& entry) {
  static std::atomic<std::uint64_t> clock{1};
  std::uint64_t bits = 0;
  if (entry.bytes == 0) {
    bits = clock.fetch_add(32);
  } else {
    std::memcpy(&bits, address(entry.source), entry.bytes);
  }
  auto* words = static_cast<std::atomic<std::uint64_t>*>(address(entry.slot));
  const std::uint64_t tag = static_cast<std::uint64_t>(entry.tag) << 32;
  const std::uint64_t values[2] = {(bits & 0xFFFFFFFF) | tag, bits >> 32 | tag};
  const std::size_t first = clock.fetch_add(1) % 2;
  words[first].store(values[first], std::memory_order_release);  // for ThreadSanitizer: see LandingSlot::read
  std::this_thread::yield();
  words[1 - first].store(values[1 - first], std::memory_order_release);
}

}  // namespace

#define ENTER()                                      \
  if (const DriverResult failed = enter(__func__)) { \
    return failed;                                   \
  }

extern "C" {

DriverResult cuInit(unsigned) {
  ENTER()
  const std::lock_guard<std::mutex> lock(driver().mutex);
  driver().is_initialised = true;
  return 0;
}

DriverResult cuDriverGetVersion(int* version) {
  ENTER()
  *version = 13000;
  return 0;
}

DriverResult cuDeviceGet(int* device, int ordinal) {
  ENTER()
  *device = ordinal;
  return ordinal >= 0 && ordinal < kDevices ? 0 : kInvalidDevice;
}

DriverResult cuDevicePrimaryCtxRetain(void** context, int device) {
  ENTER()
  *context = &contexts[device];
  return 0;
}

DriverResult cuCtxGetCurrent(void** context) {
  ENTER()
  *context = current();
  return 0;
}

DriverResult cuCtxPushCurrent_v2(void* context) {
  ENTER()
  context_stack.push_back(static_cast<Context*>(context));
  return 0;
}

DriverResult cuCtxPopCurrent_v2(void** context) {
  ENTER()
  if (context_stack.empty()) return kInvalidContext;
  *context = context_stack.back();
  context_stack.pop_back();
  return 0;
}

DriverResult cuMemHostAlloc(void** memory, std::size_t bytes, unsigned) {
  ENTER()
  if (current() == nullptr) return kInvalidContext;
  *memory = std::aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
  std::memset(*memory, 0xAB, bytes);
  const std::lock_guard<std::mutex> lock(driver().mutex);
  driver().host_memory.push_back(*memory);
  return 0;
}

DriverResult cuMemHostGetDevicePointer_v2(std::uint64_t* pointer, void* memory, unsigned) {
  ENTER()
  *pointer = reinterpret_cast<std::uintptr_t>(memory);
  return 0;
}

DriverResult cuModuleLoadData(void** module, const void* image) {
  ENTER()
  if (current() == nullptr) return kInvalidContext;
  const auto* text = static_cast<const char*>(image);
  const char* version = std::strstr(text, "\n.version ");
  int major = 0;
  int minor = 0;
  if (version == nullptr || std::sscanf(version, "\n.version %d.%d", &major, &minor) != 2) return kInvalidPtx;
  const std::lock_guard<std::mutex> lock(driver().mutex);
  if (major * 100 + minor > driver().ptx_version) return kUnsupportedPtx;
  *module = &driver().texts.emplace_back(text);
  return 0;
}

DriverResult cuModuleGetFunction(void** function, void* module, const char* name) {
  ENTER()
  if (static_cast<std::string*>(module)->find(std::string(".entry ") + name + "(") == std::string::npos) {
    return kNotFound;
  }
  const std::lock_guard<std::mutex> lock(driver().mutex);
  *function = &driver().texts.emplace_back(name);
  return 0;
}

DriverResult cuLaunchKernel(void* function, unsigned, unsigned, unsigned, unsigned block_x, unsigned,
                            unsigned, unsigned, void* stream, void** parameters, void**) {
  ENTER()
  Stream* queue = resolve(stream);
  if (queue == nullptr || current() == nullptr) return kInvalidContext;
  if (current()->device != queue->device()) return kInvalidHandle;
  const bool is_many = *static_cast<std::string*>(function) == ringmeter::kAppendMany;
  if (block_x == 0 || block_x > (is_many ? ringmeter::kMostEntries : 1)) return kInvalidValue;
  AppendEntry all[ringmeter::kMostEntries] = {};
  std::memcpy(all, parameters[0], is_many ? sizeof all : sizeof all[0]);  // all of it, as the driver
  queue->push([entries = std::vector<AppendEntry>(all, all + block_x)] {
    for (const AppendEntry& entry : entries) append(entry);
  });
  return 0;
}

DriverResult cuStreamCreate(void** stream, unsigned) {
  ENTER()
  if (current() == nullptr) return kInvalidContext;
  *stream = ringmeter::tests::fake_stream(current()->device);
  return 0;
}

DriverResult cuStreamQuery(void* stream) {
  ENTER()
  Stream* queue = resolve(stream);
  if (queue == nullptr) return kInvalidContext;
  return queue->is_idle() ? 0 : ringmeter::kNotReady;
}

DriverResult cuStreamIsCapturing(void*, int* status) {
  ENTER()
  *status = ringmeter::kNotCapturing;
  return 0;
}

DriverResult cuThreadExchangeStreamCaptureMode(int* mode) {
  ENTER()
  std::swap(*mode, capture_mode);
  return 0;
}

DriverResult cuGetErrorName(DriverResult result, const char** name) {  // needs no cuInit
  thread_local char text[32];
  std::snprintf(text, sizeof text, "FAKE_CUDA_ERROR_%d", result);
  *name = text;
  return 0;
}

}  // extern "C"

namespace ringmeter::tests {

void fake_reset() {
  const std::lock_guard<std::mutex> lock(driver().mutex);
  driver().ptx_version = 900;
  driver().calls.clear();
  driver().failures.clear();
}

void fake_set_ptx_version(int major, int minor) {
  const std::lock_guard<std::mutex> lock(driver().mutex);
  driver().ptx_version = major * 100 + minor;
}

DriverStream fake_stream(int device) {
  auto stream = std::make_unique<Stream>(device);
  const std::lock_guard<std::mutex> lock(driver().mutex);
  driver().streams.push_back(std::move(stream));
  return reinterpret_cast<DriverStream>(driver().streams.back().get());
}

DriverStream fake_default_stream(int device) {
  if (device < 0 || device >= kDevices) return nullptr;
  return reinterpret_cast<DriverStream>(default_stream(device));
}

void fake_delay(DriverStream stream, int microseconds) {
  reinterpret_cast<Stream*>(stream)->delay(microseconds);
}

void fake_pause(DriverStream stream, bool paused) { reinterpret_cast<Stream*>(stream)->pause(paused); }

void fake_sync(DriverStream stream) { reinterpret_cast<Stream*>(stream)->sync(); }

void fake_write(DriverStream stream, void* to, const void* from, std::size_t bytes) {
  const auto* begin = static_cast<const char*>(from);
  reinterpret_cast<Stream*>(stream)->push(
      [to, copy = std::string(begin, bytes)] { std::memcpy(to, copy.data(), copy.size()); });
}

void fake_fail(const char* function, long nth, DriverResult result, bool for_ever) {
  const std::lock_guard<std::mutex> lock(driver().mutex);
  driver().failures[function] = {driver().calls[function] + nth, result, for_ever};
}

long fake_calls(const char* function) {
  const std::lock_guard<std::mutex> lock(driver().mutex);
  return driver().calls[function];
}

std::size_t fake_contexts() { return context_stack.size(); }

}  // namespace ringmeter::tests
