# Headers, libraries, pkg-config and CMake package files, programs, man pages, completions.
include(CMakePackageConfigHelpers)

install(DIRECTORY include/sop DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.h")
install(TARGETS sop sop_static EXPORT sop-targets
        LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
        ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})

# Programs find an installed libsop beside them, so that any prefix works.
foreach(program sopctl sop-bench)
  if(TARGET ${program})
    set_target_properties(${program} PROPERTIES INSTALL_RPATH "$ORIGIN/../${CMAKE_INSTALL_LIBDIR}")
    install(TARGETS ${program} RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
  endif()
endforeach()

file(GLOB SOP_MAN_PAGES CONFIGURE_DEPENDS cli/*.1 cli/man/*.1 bench/*.1 docs/man/*.1)
if(SOP_MAN_PAGES)
  install(FILES ${SOP_MAN_PAGES} DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
endif()
# Completion files are named as their shell wants them: sopctl.bash, _sopctl, sopctl.fish.
if(EXISTS ${CMAKE_SOURCE_DIR}/cli/completions/sopctl.bash)
  install(FILES cli/completions/sopctl.bash RENAME sopctl
          DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions)
endif()
if(EXISTS ${CMAKE_SOURCE_DIR}/cli/completions/_sopctl)
  install(FILES cli/completions/_sopctl
          DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/site-functions)
endif()
if(EXISTS ${CMAKE_SOURCE_DIR}/cli/completions/sopctl.fish)
  install(FILES cli/completions/sopctl.fish
          DESTINATION ${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d)
endif()
install(FILES LICENSE README.md DESTINATION ${CMAKE_INSTALL_DOCDIR})

# pkg-config --cflags --libs sop. Paths are relative to the file, so that a prefix can be moved.
file(RELATIVE_PATH SOP_PC_PREFIX ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
configure_file(cmake/sop.pc.in sop.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/sop.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

# find_package(sop): sop::sop is the shared library, sop::sop_static the archive.
set(SOP_CONFIG_DIR ${CMAKE_INSTALL_LIBDIR}/cmake/sop)
install(EXPORT sop-targets NAMESPACE sop:: DESTINATION ${SOP_CONFIG_DIR})
configure_package_config_file(cmake/sop-config.cmake.in sop-config.cmake
                              INSTALL_DESTINATION ${SOP_CONFIG_DIR})
write_basic_package_version_file(sop-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/sop-config.cmake
              ${CMAKE_CURRENT_BINARY_DIR}/sop-config-version.cmake
        DESTINATION ${SOP_CONFIG_DIR})
