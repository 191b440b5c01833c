// Which machine this is, the same tomorrow and after a reboot.
#pragma once

#include <filesystem>
#include <string>

namespace crossover {

// 16 hexadecimal digits from /etc/machine-id (the host name where there is none), the processor and its number of cores: a copied disk
// or another instance type is another machine. The id itself does not leave: machine-id(5) asks to keep it private.
std::string machine_id(const std::filesystem::path& root = "/");

}  // namespace crossover
