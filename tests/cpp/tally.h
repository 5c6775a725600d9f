// Many comparisons as one CHECK.
#pragma once

#include <doctest/doctest.h>

#include <cstdint>
#include <sstream>
#include <string>

namespace ringmeter::tests {

// Counts what does not hold, and describes the first. A CHECK costs more than most of what is compared here,
// and one a thread of its own may not fail. One thread at a time.
class Tally {
 public:
  // The description is the rest of the arguments, written one after the other.
  template <class... Parts>
  void expect(bool holds, const Parts&... parts) {
    ++asked_;
    if (holds || failed_++ != 0) return;
    std::ostringstream text;
    text.precision(17);
    static_cast<void>((text << ... << parts));
    first_ = text.str();
  }

  void add(const Tally& other) {
    if (failed_ == 0) first_ = other.first_;
    asked_ += other.asked_;
    failed_ += other.failed_;
  }

  void check() const {
    INFO(failed_ << " of " << asked_ << " do not hold, the first: " << first_);
    CHECK(asked_ > 0);
    CHECK(failed_ == 0);
  }

 private:
  std::uint64_t asked_ = 0;
  std::uint64_t failed_ = 0;
  std::string first_;
};

}  // namespace ringmeter::tests
