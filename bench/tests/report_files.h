// A folder in which results become reports.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>

#include "bench/report/report.h"
#include "engine/tests/temp_folder.h"

namespace crossover {

class ReportFiles : public test::FolderTest {
 protected:
  std::filesystem::path save(const std::string& text, const std::string& name = "result.json") {
    std::ofstream(folder_ / name) << text;
    return folder_ / name;
  }
  std::string html_of(const nlohmann::ordered_json& result, bool publish = false) {
    write_report({save(result.dump())}, folder_ / "out", publish);
    return test::read_bytes(folder_ / "out" / "report.html");
  }
  std::string error_of(const std::string& text) {
    try {
      write_report({save(text)}, folder_ / "out", false);
    } catch (const std::runtime_error& error) {
      return error.what();
    }
    return "";
  }
};

}  // namespace crossover
