# Libraries from the system; each is named with its purpose in README.md and installed by scripts/.
# What only the programs need is found in cli/, what only the tests need in tests/.
set(THREADS_PREFER_PTHREAD_FLAG ON)
find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)
pkg_check_modules(ISAL REQUIRED IMPORTED_TARGET libisal)
