# ks_proto(TARGET file.proto) compiles the protobuf with protoc-c into the build folder and adds it to the target; the
# generated header is included as "<name>.pb-c.h".
function(ks_proto target proto)
  get_filename_component(name ${proto} NAME_WE)
  get_filename_component(folder ${proto} DIRECTORY)
  set(out ${CMAKE_BINARY_DIR}/proto)
  file(MAKE_DIRECTORY ${out})
  add_custom_command(OUTPUT ${out}/${name}.pb-c.c ${out}/${name}.pb-c.h
    COMMAND ${PROTOC_C} --proto_path=${folder} --c_out=${out} ${proto} DEPENDS ${proto} VERBATIM)
  set_source_files_properties(${out}/${name}.pb-c.c PROPERTIES COMPILE_OPTIONS "-w")
  target_sources(${target} PRIVATE ${out}/${name}.pb-c.c ${out}/${name}.pb-c.h)
  target_include_directories(${target} PUBLIC ${out})
endfunction()
