# The embedded library: one archive libkofstore.a of the floors up to query, its header and its pkg-config file.
# kofstore_static is the target to link; it brings the system libraries along.
set(KS_EMBED_FLOORS base sys wal storage index compaction retention engine query)
set(KS_EMBED_ARCHIVE ${CMAKE_BINARY_DIR}/libkofstore.a)
set(mri "CREATE ${KS_EMBED_ARCHIVE}\n")
foreach(f ${KS_EMBED_FLOORS})
  string(APPEND mri "ADDLIB $<TARGET_FILE:ks_${f}>\n")
  list(APPEND KS_EMBED_DEPS ks_${f})
endforeach()
string(APPEND mri "SAVE\nEND\n")
file(GENERATE OUTPUT ${CMAKE_BINARY_DIR}/libkofstore.mri CONTENT "${mri}")
add_custom_command(OUTPUT ${KS_EMBED_ARCHIVE}
  COMMAND ${CMAKE_COMMAND} -E rm -f ${KS_EMBED_ARCHIVE}
  COMMAND ${CMAKE_AR} -M < ${CMAKE_BINARY_DIR}/libkofstore.mri
  COMMAND ${CMAKE_RANLIB} ${KS_EMBED_ARCHIVE}
  DEPENDS ${KS_EMBED_DEPS} ${CMAKE_BINARY_DIR}/libkofstore.mri VERBATIM)
add_custom_target(kofstore_archive DEPENDS ${KS_EMBED_ARCHIVE})
add_library(kofstore_static INTERFACE)
add_dependencies(kofstore_static kofstore_archive)
target_link_libraries(kofstore_static INTERFACE ${KS_EMBED_ARCHIVE} Threads::Threads PkgConfig::XXHASH PkgConfig::RE2
  ${SIMDJSON_LIB} PkgConfig::URING PkgConfig::LZ4 PkgConfig::ZSTD ${ROARING_LIB} PkgConfig::UTF8PROC stdc++ m)
target_include_directories(kofstore_static INTERFACE ${CMAKE_SOURCE_DIR}/include)

set(KS_PC "prefix=${CMAKE_INSTALL_PREFIX}
libdir=\${prefix}/lib
includedir=\${prefix}/include

Name: kofstore
Description: embedded store for metrics with MetricsQL and PromQL
Version: ${PROJECT_VERSION}
Requires.private: libxxhash re2 liburing liblz4 libzstd libutf8proc
Libs: -L\${libdir} -lkofstore
Libs.private: -lroaring -lsimdjson -lstdc++ -lpthread -lm
Cflags: -I\${includedir}
")
file(GENERATE OUTPUT ${CMAKE_BINARY_DIR}/kofstore.pc CONTENT "${KS_PC}")
install(FILES ${KS_EMBED_ARCHIVE} DESTINATION lib OPTIONAL)
install(FILES ${CMAKE_BINARY_DIR}/kofstore.pc DESTINATION lib/pkgconfig)
