#include <doctest/doctest.h>

#include <array>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "device/device.h"
#include "fake_cuda.h"
#include "tally.h"
#include "threads.h"

using namespace ringmeter;
using namespace std::chrono_literals;
using ringmeter::tests::fake_calls;
using ringmeter::tests::fake_contexts;
using ringmeter::tests::fake_delay;
using ringmeter::tests::fake_fail;
using ringmeter::tests::fake_pause;
using ringmeter::tests::fake_reset;
using ringmeter::tests::fake_set_ptx_version;
using ringmeter::tests::fake_stream;
using ringmeter::tests::fake_sync;
using ringmeter::tests::fake_write;
using ringmeter::tests::Tally;

namespace {

constexpr DriverResult kLaunchFailed = 719;

DriverApi& driver() {
  static DriverApi api = load_driver();
  return api;
}

// What landed, as (position, value). Invoked under the device's lock.
struct Landed {
  std::vector<std::pair<std::uint64_t, Number>> values;
};

void land(void* owner, std::uint64_t position, const Number& number) {
  static_cast<Landed*>(owner)->values.emplace_back(position, number);
}

struct Scalar {
  DeviceScalar scalar;
  std::uint64_t position;
};

template <class T>
Scalar scalar_of(const T& value, ElementType type, std::uint64_t position) {
  return {{reinterpret_cast<std::uintptr_t>(&value), type}, position};
}

Device::Sizes small(unsigned log2_slots, std::uint64_t first = 0) { return {log2_slots, 4, 4, first}; }

// A device, and what landed from it.
struct Subject {
  explicit Subject(int ordinal, unsigned log2_slots, std::uint64_t first = 0)
      : device(driver(), ordinal, small(log2_slots, first)) {}

  bool append(const Scalar* scalars, std::size_t n, DriverStream stream) {
    std::vector<DeviceScalar> sources;
    for (std::size_t i = 0; i < n; ++i) sources.push_back(scalars[i].scalar);
    std::uint64_t first = 0;
    if (!device.launch(sources.data(), n, stream, &first)) return false;
    for (std::size_t i = 0; i < n; ++i) device.commit(first + i, {land, &landed, scalars[i].position});
    return true;
  }
  void take() {
    device.drain();
    while (device.release([](void*) {})) {
    }
  }
  bool wait(std::uint64_t number, std::chrono::milliseconds timeout = 10s) {
    const auto deadline = std::chrono::steady_clock::now() + timeout;
    while (take(), device.drained() < number) {
      if (std::chrono::steady_clock::now() > deadline) return false;
      device.check();
      std::this_thread::sleep_for(20us);
    }
    return true;
  }
  bool wait() { return wait(device.enqueued()); }
  // Appends, waiting for room.
  void append(const Scalar& scalar, DriverStream stream) {
    while (!append(&scalar, 1, stream)) wait(device.drained() + 1);
  }

  Device device;
  Landed landed;
};

std::string error_of(int ordinal = 0) {
  try {
    Device device(driver(), ordinal, small(4));
  } catch (const DriverError& error) {
    return error.what();
  }
  return "none";
}

}  // namespace

TEST_CASE("test_driver_error_says_what_is_missing") {
  const std::string chosen = std::getenv("RINGMETER_CUDA_DRIVER");
  const auto error_with = [](const char* library) -> std::string {
    setenv("RINGMETER_CUDA_DRIVER", library, 1);
    try {
      load_driver();
    } catch (const DriverError& error) {
      return error.what();
    }
    return "none";
  };
  CHECK(error_with("/nowhere/libcuda.so.1").find("no CUDA driver: /nowhere/libcuda.so.1") == 0);
  CHECK(error_with("libm.so.6").find("must have the function cuInit") != std::string::npos);
  fake_reset();
  fake_fail("cuInit", 1, 100);
  CHECK(error_with(chosen.c_str()) == "cuInit: FAKE_CUDA_ERROR_100 (100)");
  setenv("RINGMETER_CUDA_DRIVER", chosen.c_str(), 1);
}

TEST_CASE("test_device_is_refused_with_the_function_that_failed") {
  driver();
  for (const char* function :
       {"cuDeviceGet", "cuDevicePrimaryCtxRetain", "cuCtxGetCurrent", "cuCtxPushCurrent_v2",
        "cuModuleLoadData", "cuModuleGetFunction", "cuStreamCreate", "cuMemHostAlloc",
        "cuMemHostGetDevicePointer_v2", "cuMemAlloc_v2", "cuMemsetD8Async", "cuLaunchKernel"}) {
    for (const long nth : {1L, 2L}) {
      CAPTURE(function);
      fake_reset();
      fake_fail(function, nth, 2, true);
      const std::string error = error_of();
      // What is called but once does not fail the second time.
      const std::string name = std::string(function).substr(0, std::string(function).find("_v2"));
      if (error != "none") CHECK(error == name + ": FAKE_CUDA_ERROR_2 (2)");
      if (nth == 1) CHECK(error != "none");
      CHECK(fake_contexts() == 0);
    }
  }
  fake_reset();
  CHECK(error_of(7) == "cuDeviceGet: FAKE_CUDA_ERROR_101 (101)");
}

TEST_CASE("test_device_is_refused_when_the_driver_is_too_old_for_the_kernels") {
  fake_reset();
  fake_set_ptx_version(5, 0);
  CHECK(error_of() == "cuModuleLoadData: FAKE_CUDA_ERROR_222 (222)");
  fake_set_ptx_version(6, 0);
  CHECK(error_of() == "none");
}

TEST_CASE("test_values_land_as_they_were_at_the_call_and_in_the_order_of_the_calls") {
  fake_reset();
  for (const unsigned log2_capacity : {0U, 1U, 4U, 10U}) {
    CAPTURE(log2_capacity);
    Subject first(0, log2_capacity);
    Subject second(1, log2_capacity);
    const std::array<DriverStream, 3> streams{fake_stream(0), fake_stream(0), fake_stream(1)};
    fake_delay(streams[0], 30);
    fake_delay(streams[1], 300);
    fake_delay(streams[2], 100);
    std::array<float, 3> values{};
    for (std::uint64_t i = 0; i < 150; ++i) {
      const std::size_t place = i % 3;
      const auto value = static_cast<float>(i);
      const float junk = -1.0F;
      fake_write(streams[place], &values[place], &value, sizeof value);
      (place == 2 ? second : first)
          .append(scalar_of(values[place], ElementType::kFloat32, i), streams[place]);
      fake_write(streams[place], &values[place], &junk, sizeof junk);
    }
    for (const DriverStream stream : streams) fake_sync(stream);
    CHECK(first.wait());
    CHECK(second.wait());
    Tally tally;
    std::uint64_t next = 0;
    for (const auto& [position, number] : first.landed.values) {
      if (next % 3 == 2) ++next;
      tally.expect(position == next && number.high == static_cast<double>(next), "at ", next, ": ",
                   number.high);
      ++next;
    }
    next = 2;
    for (const auto& [position, number] : second.landed.values) {
      tally.expect(position == next && number.high == static_cast<double>(next), "at ", next, ": ",
                   number.high);
      next += 3;
    }
    tally.check();
    CHECK(first.landed.values.size() == 100);
    CHECK(second.landed.values.size() == 50);
  }
}

TEST_CASE("test_one_launch_takes_many_scalars_of_every_type") {
  fake_reset();
  Subject device(0, 6);
  const DriverStream stream = fake_stream(0);
  const std::int64_t smallest = std::numeric_limits<std::int64_t>::min();
  const std::uint64_t largest = std::numeric_limits<std::uint64_t>::max();
  const double tiny = 1e-300;
  const float third = 1.0F / 3.0F;
  const std::uint16_t bfloat = 0x3FC0;
  const std::uint16_t half = 0x3E00;
  const std::uint8_t fp8 = 0x3C;
  const std::int8_t minus = -7;
  const bool yes = true;
  const std::vector<Scalar> scalars{
      scalar_of(smallest, ElementType::kInt64, 0),   scalar_of(largest, ElementType::kUInt64, 1),
      scalar_of(tiny, ElementType::kFloat64, 2),     scalar_of(third, ElementType::kFloat32, 3),
      scalar_of(bfloat, ElementType::kBFloat16, 4),  scalar_of(half, ElementType::kFloat16, 5),
      scalar_of(fp8, ElementType::kFloat8E4M3FN, 6), scalar_of(minus, ElementType::kInt8, 7),
      scalar_of(yes, ElementType::kBool, 8)};
  const long before = fake_calls("cuLaunchKernel");
  REQUIRE(device.append(scalars.data(), scalars.size(), stream));
  CHECK(fake_calls("cuLaunchKernel") == before + 1);
  REQUIRE(device.wait());
  REQUIRE(device.landed.values.size() == scalars.size());
  const std::vector<double> expected{-0x1p63, 0x1p64, 1e-300, static_cast<double>(third), 1.5, 1.5,
                                     1.5,     -7.0,   1.0};
  for (std::size_t i = 0; i < expected.size(); ++i) {
    CAPTURE(i);
    CHECK(device.landed.values[i].first == i);
    CHECK(device.landed.values[i].second.high == expected[i]);
  }
  CHECK(device.landed.values[1].second.low == -1.0);  // 2^64 - 1, exactly
  const std::vector<Scalar> most(kMostEntries, scalar_of(yes, ElementType::kBool, 0));
  CHECK(device.append(most.data(), most.size(), stream));
  CHECK(device.wait());
}

TEST_CASE("test_append_says_so_when_there_is_no_room") {
  fake_reset();
  Subject device(0, 2);
  const DriverStream stream = fake_stream(0);
  fake_pause(stream, true);
  const float value = 5.0F;
  const std::vector<Scalar> five(5, scalar_of(value, ElementType::kFloat32, 0));
  CHECK_FALSE(device.append(five.data(), 5, stream));
  CHECK(device.append(five.data(), 3, stream));
  CHECK_FALSE(device.append(five.data(), 2, stream));
  CHECK(device.append(five.data(), 1, stream));
  CHECK_FALSE(device.append(five.data(), 1, stream));
  CHECK_FALSE(device.wait(device.device.enqueued(), 20ms));
  CHECK(device.landed.values.empty());
  fake_pause(stream, false);
  CHECK(device.wait());
  CHECK(device.landed.values.size() == 4);
  CHECK(device.append(five.data(), 4, stream));
  CHECK(device.wait());
}

TEST_CASE("test_nothing_is_lost_when_a_launch_fails") {
  fake_reset();
  Subject device(0, 3);
  const DriverStream stream = fake_stream(0);
  const std::array<float, 3> values{1.0F, 2.0F, 3.0F};
  for (std::uint64_t i = 0; i < 30; ++i) {
    const Scalar scalar = scalar_of(values[i % 3], ElementType::kFloat32, i);
    if (i % 4 == 0) CHECK(device.wait());  // there is room
    fake_fail("cuLaunchKernel", 1, kLaunchFailed);
    CHECK_THROWS_WITH_AS(device.append(&scalar, 1, stream), "cuLaunchKernel: FAKE_CUDA_ERROR_719 (719)",
                         DriverError);
    device.append(scalar, stream);
  }
  CHECK(device.wait());
  REQUIRE(device.landed.values.size() == 30);
  for (std::uint64_t i = 0; i < 30; ++i) {
    CHECK(device.landed.values[i].first == i);
    CHECK(device.landed.values[i].second.high == static_cast<double>(values[i % 3]));
  }
  CHECK(fake_contexts() == 0);
}

TEST_CASE("test_nothing_is_lost_when_any_call_fails_in_steady_state") {
  for (const char* function : {"cuLaunchKernel", "cuCtxGetCurrent", "cuCtxPushCurrent_v2",
                               "cuStreamIsCapturing", "cuThreadExchangeStreamCaptureMode"}) {
    const std::string name = function;
    CAPTURE(name);
    fake_reset();
    Subject device(0, 3);
    const DriverStream stream = fake_stream(0);
    std::array<double, 40> values{};
    std::vector<double> recorded;
    int refused = 0;
    for (std::size_t i = 0; i < values.size(); ++i) {
      values[i] = static_cast<double>(i);
      if (device.device.enqueued() - device.device.drained() > 6) CHECK(device.wait());
      if (i % 5 == 3) fake_fail(function, 1, 999);
      const Scalar scalar = scalar_of(values[i], ElementType::kFloat64, i);
      try {
        device.device.is_capturing(stream);
        device.take();
        if (!device.append(&scalar, 1, stream)) {
          device.append(scalar, stream);
        }
        recorded.push_back(values[i]);
      } catch (const DriverError& error) {
        CHECK(error.result() == 999);
        ++refused;
      }
    }
    fake_reset();
    CHECK(device.wait());
    std::vector<double> landed;
    for (const auto& [position, number] : device.landed.values) landed.push_back(number.high);
    CHECK(landed == recorded);
    CHECK(recorded.size() + static_cast<std::size_t>(refused) == values.size());
    CHECK(fake_contexts() == 0);
  }
}

TEST_CASE("test_what_had_landed_can_be_taken_when_the_device_fails") {
  fake_reset();
  Subject device(0, 4);
  const DriverStream fast = fake_stream(0);
  const DriverStream stuck = fake_stream(0);
  fake_pause(stuck, true);
  const float value = 5.0F;
  const Scalar scalar = scalar_of(value, ElementType::kFloat32, 0);
  REQUIRE(device.append(&scalar, 1, fast));
  REQUIRE(device.append(&scalar, 1, stuck));
  fake_sync(fast);
  fake_fail("cuStreamQuery", 1, kLaunchFailed);
  CHECK_THROWS_WITH_AS(device.wait(), "the device has failed: FAKE_CUDA_ERROR_719 (719)", DriverError);
  CHECK(device.landed.values.size() == 1);
  CHECK_THROWS_AS(device.append(&scalar, 1, fast), DriverError);
  CHECK(fake_contexts() == 0);
  fake_pause(stuck, false);
  while (!device.device.drain()) std::this_thread::yield();
  CHECK(device.landed.values.size() == 2);
}

TEST_CASE("test_threads_need_no_context_of_their_own") {
  fake_reset();
  Subject first(0, 4);
  Subject second(1, 4);
  const float value = 2.5F;
  const Scalar scalar = scalar_of(value, ElementType::kFloat32, 0);
  std::thread([&] {
    CHECK(second.append(&scalar, 1, fake_stream(1)));
    CHECK(second.append(&scalar, 1, nullptr));  // the default stream of that device, not of another
    CHECK(fake_contexts() == 0);
  }).join();
  CHECK(second.wait());
  DriverContext context = nullptr;
  driver().cuDevicePrimaryCtxRetain(&context, 0);
  driver().cuCtxPushCurrent_v2(context);
  CHECK(second.append(&scalar, 1, nullptr));
  CHECK(first.append(&scalar, 1, nullptr));
  CHECK(fake_contexts() == 1);
  driver().cuCtxPopCurrent_v2(&context);
  CHECK(second.wait());
  CHECK(first.wait());
  CHECK(second.landed.values.size() == 3);
  CHECK(first.landed.values.size() == 1);
}

TEST_CASE("test_no_call_that_could_wait_is_made_in_steady_state") {
  fake_reset();
  Subject device(0, 6);
  const DriverStream stream = fake_stream(0);
  const float value = 1.0F;
  const Scalar scalar = scalar_of(value, ElementType::kFloat32, 0);
  fake_reset();
  int launches = 0;
  while (launches < 1000) {
    if (device.append(&scalar, 1, stream)) ++launches;
    device.take();
  }
  while (device.landed.values.size() < 1000) device.take();
  for (const char* function :
       {"cuMemHostAlloc", "cuModuleLoadData", "cuModuleGetFunction", "cuStreamCreate", "cuStreamQuery",
        "cuDevicePrimaryCtxRetain", "cuInit", "cuMemAlloc_v2", "cuMemsetD8Async"}) {
    CAPTURE(function);
    CHECK(fake_calls(function) == 0);
  }
  CHECK(fake_calls("cuLaunchKernel") == 1000);
}

TEST_CASE("test_values_land_when_tags_begin_again") {
  fake_reset();
  Subject device(0, 2, ((std::uint64_t{1} << 32) - 2) << 2);
  const DriverStream stream = fake_stream(0);
  std::array<double, 40> values{};
  for (std::uint64_t i = 0; i < values.size(); ++i) {
    values[i] = static_cast<double>(i);
    device.append(scalar_of(values[i], ElementType::kFloat64, i), stream);
  }
  CHECK(device.wait());
  REQUIRE(device.landed.values.size() == values.size());
  for (std::uint64_t i = 0; i < values.size(); ++i) CHECK(device.landed.values[i].second.high == values[i]);
}

TEST_CASE("test_nothing_is_lost_torn_or_out_of_order_when_threads_append_and_drain") {
  fake_reset();
  constexpr std::uint64_t kThreads = 4;
  constexpr std::uint64_t kEach = 2000;
  Subject device(0, 7);
  std::vector<std::vector<std::uint64_t>> values(kThreads, std::vector<std::uint64_t>(kEach));
  const auto append_all = [&](std::uint64_t thread) {
    const DriverStream stream = fake_stream(0);
    for (std::uint64_t i = 0; i < kEach; ++i) {
      values[thread][i] = i << 32 | i;  // halves that must be equal
      device.append(scalar_of(values[thread][i], ElementType::kUInt64, thread), stream);
    }
  };
  std::vector<std::thread> threads;
  for (std::uint64_t thread = 0; thread < kThreads; ++thread) threads.emplace_back(append_all, thread);
  for (std::thread& thread : threads) thread.join();
  REQUIRE(device.wait());
  CHECK(device.landed.values.size() == kThreads * kEach);
  std::array<std::uint64_t, kThreads> next{};
  Tally tally;
  for (const auto& [thread, number] : device.landed.values) {
    const std::uint64_t i = next[thread]++;
    const Number expected = Number::integer(i << 32 | i);
    tally.expect(number.high == expected.high && number.low == expected.low, "thread ", thread, ", value ",
                 i);
  }
  tally.check();
}
