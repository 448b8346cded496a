{
  # Some tools look for this file to tell that a package has a native addon. The build itself is CMake's: npx seedbed setup.
  "targets": [
    {
      "target_name": "seedbed",
      "type": "none",
      "actions": [
        {
          "action_name": "setup",
          "inputs": ["CMakeLists.txt"],
          "outputs": ["build/Release/seedbed.node"],
          "action": ["node", "dist/bin/seedbed.js", "setup"]
        }
      ]
    }
  ]
}
